//! What stays in memory when everything has been looked at.

use crate::drive::Drive;

#[test]
fn what_is_forgotten_is_gone() {
    const FILES: usize = 5_000;
    let mut drive = Drive::new();
    drive.mkdir("d").unwrap();
    for i in 0..FILES {
        let handle = drive.create(&format!("d/{i}")).unwrap();
        drive.fs().release(handle);
    }
    for remounted in [false, true] {
        drive.fs().sync().unwrap();
        let mut listed = Vec::new();
        drive.list_plus("d", &mut |ino| listed.push(ino)).unwrap();
        assert_eq!(listed.len(), FILES);
        assert!(drive.fs().stats().inodes > FILES);
        assert_eq!(drive.names("d").unwrap().len(), FILES);
        listed.into_iter().for_each(|ino| drive.fs().forget(ino, 1));
        let stats = drive.fs().stats();
        assert!(stats.inodes <= 2, "{} inodes for the root and a folder, remounted: {remounted}", stats.inodes);
        assert_eq!((stats.open, stats.dirty_bytes), (0, 0));
        drive.remount();
    }
}
