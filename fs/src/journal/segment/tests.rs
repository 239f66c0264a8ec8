use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const NUMBER: u64 = 5;

fn cipher() -> Cipher {
    Cipher::new(b"a secret of the account")
}

/// A file with frames of these contents, and where each ends.
fn written(frames: &[Vec<u8>]) -> (TempDir, PathBuf, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let mut segment = Segment::create(dir.path(), NUMBER, &cipher()).unwrap();
    let mut ends = vec![segment.len];
    for frame in frames {
        let mut buffer = [vec![0; LEAD], frame.clone()].concat();
        segment.append(&cipher(), &mut buffer).unwrap();
        ends.push(segment.len);
    }
    let path = path(dir.path(), NUMBER);
    assert_eq!(fs::metadata(&path).unwrap().len(), *ends.last().unwrap());
    (dir, path, ends)
}

/// What is read; an error if it is damaged.
fn read(path: &Path, number: u64) -> std::result::Result<Vec<Vec<u8>>, Fault> {
    let cipher = cipher();
    let Some(mut reader) = Reader::open(path, number, &cipher)? else { return Ok(Vec::new()) };
    let mut frames = Vec::new();
    while let Some(frame) = reader.next()? {
        frames.push(frame.to_vec());
    }
    Ok(frames)
}

fn is_damaged(read: std::result::Result<Vec<Vec<u8>>, Fault>) -> bool {
    matches!(read, Err(Fault::Damaged))
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6)
}

proptest! {
    #[test]
    fn frames_are_read_as_they_were_written_and_say_nothing(frames in frames()) {
        let (_dir, path, _) = written(&frames);
        prop_assert_eq!(&read(&path, NUMBER).unwrap(), &frames);
        let bytes = fs::read(&path).unwrap();
        for frame in frames.iter().filter(|frame| frame.len() > 8) {
            prop_assert!(!bytes.windows(frame.len()).any(|part| part == &frame[..]));
        }
    }

    #[test]
    fn a_file_that_is_cut_has_the_frames_before(frames in frames(), cut in any::<prop::sample::Index>()) {
        let (_dir, path, ends) = written(&frames);
        let cut = cut.index(*ends.last().unwrap() as usize) as u64;
        fs::File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let whole = ends.iter().skip(1).filter(|end| **end <= cut).count();
        prop_assert_eq!(&read(&path, NUMBER).unwrap()[..], &frames[..whole]);
    }

    #[test]
    fn damage_before_other_frames_is_noticed(
        frames in frames(), at in any::<prop::sample::Index>(), flip in 1..=255u8
    ) {
        let (_dir, path, ends) = written(&frames);
        let mut bytes = fs::read(&path).unwrap();
        let last = ends[ends.len() - 2] as usize;
        let at = at.index(last);
        bytes[at] ^= flip;
        fs::write(&path, bytes).unwrap();
        prop_assert!(is_damaged(read(&path, NUMBER)));
    }

    #[test]
    fn what_is_left_of_a_frame_that_was_being_written_is_no_damage(
        frames in frames(), garbage in prop::collection::vec(any::<u8>(), 0..300)
    ) {
        let (_dir, path, _) = written(&frames);
        let bytes = [fs::read(&path).unwrap(), garbage].concat();
        fs::write(&path, bytes).unwrap();
        prop_assert_eq!(read(&path, NUMBER).unwrap(), frames);
    }
}

#[test]
fn frames_that_are_left_out_or_exchanged_are_noticed() {
    let frames: Vec<Vec<u8>> = (0..3).map(|i| vec![i; 10]).collect();
    let (_dir, path, ends) = written(&frames);
    let bytes = fs::read(&path).unwrap();
    let part = |i: usize| &bytes[ends[i] as usize..ends[i + 1] as usize];
    let head = &bytes[..ends[0] as usize];
    for order in [&[0, 2][..], &[1, 0, 2], &[0, 2, 1], &[1], &[2, 1]] {
        let parts: Vec<u8> = order.iter().flat_map(|i| part(*i)).copied().collect();
        fs::write(&path, [head, &parts].concat()).unwrap();
        assert!(is_damaged(read(&path, NUMBER)), "{order:?}");
    }
    // one that comes again says nothing new
    fs::write(&path, [head, part(0), part(0)].concat()).unwrap();
    assert_eq!(read(&path, NUMBER).unwrap(), frames[..1]);
}

#[test]
fn files_that_changed_places_and_those_of_others_are_noticed() {
    let (_dir, path, _) = written(&[vec![1; 10]]);
    assert!(is_damaged(read(&path, NUMBER + 1)));
    let other = Cipher::new(b"a secret of another account");
    assert!(matches!(Reader::open(&path, NUMBER, &other), Err(Fault::Damaged)));
}

#[test]
fn files_of_another_version_are_told_from_damaged_ones() {
    let (_dir, path, _) = written(&[vec![1; 10]]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[MAGIC.len() - 1] -= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(is_damaged(read(&path, NUMBER)));
    let (magic, salt) = (bytes[..MAGIC.len()].try_into().unwrap(), bytes[MAGIC.len()..][..SALT].try_into().unwrap());
    bytes[MAGIC.len() + SALT..HEAD].copy_from_slice(&cipher().check_head(&magic, &salt, NUMBER));
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(read(&path, NUMBER), Err(Fault::OtherVersion)));
}
