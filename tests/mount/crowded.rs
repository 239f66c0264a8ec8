//! Directories with more entries than anybody reads.

use std::time::Instant;

use crate::harness::{Drive, python, run_ok, shell};

#[test]
fn thousands_of_entries_are_listed_whole() {
    let mut drive = Drive::mounted();
    let count = if std::env::var_os("PEERGOS_TEST_LONG").is_some() { 100_000 } else { 3_000 };
    let start = Instant::now();
    shell(&drive.root(), &format!("mkdir d; cd d; seq {count} | xargs touch"));
    let made = start.elapsed();
    drive.remount();
    let start = Instant::now();
    assert_eq!(shell(&drive.root(), "ls -l d | wc -l"), format!("{}\n", count + 1));
    println!("{count} entries: {made:?} to make, {:?} to list", start.elapsed());
    // any cookie may be sought, whatever happened to the other entries
    let script = "
import ctypes, os
libc = ctypes.CDLL(None)
libc.opendir.restype = libc.readdir64.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
class Dirent(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_uint64), ('off', ctypes.c_int64), ('len', ctypes.c_ushort), ('type', ctypes.c_ubyte), ('name', ctypes.c_char * 256)]
dir = ctypes.c_void_p(libc.opendir(b'd'))
def read():
    at = libc.telldir(dir)
    entry = libc.readdir64(dir)
    return entry and (at, Dirent.from_address(entry).name)
seen = list(iter(read, None))
for at, name in seen[2::7]:
    os.rename(b'd/' + name, b'd/renamed' + name)
gone = {name for _, name in seen[2::7]}
for at, name in reversed(seen[2:]):
    if name not in gone:
        libc.seekdir(dir, ctypes.c_long(at))
        assert read()[1] == name, (at, name)
libc.rewinddir(dir)
names = [name for _, name in iter(read, None)]
assert len(names) == len(set(names)) == len(seen) and {b'renamed' + name for name in gone} <= set(names)
";
    run_ok(python().args(["-c", script]).current_dir(drive.root()));
    shell(&drive.root(), "rm -r d");
    drive.check();
}
