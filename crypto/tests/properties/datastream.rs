use peergos_crypto::datastream::{Reader, Writer};
use proptest::prelude::*;

proptest! {
    #[test]
    fn round_trip(flag: bool, int: i32, long: i64, bytes in prop::collection::vec(any::<u8>(), 0..50), text in "[ -~]{0,50}") {
        let mut writer = Writer::new();
        writer.bool(flag).i32(int).i64(long).bytes(&bytes).text(&text).unwrap();
        let stream = writer.finish();
        let read = |stream: &[u8]| {
            let mut reader = Reader::new(stream);
            let fields = (reader.bool()?, reader.i32()?, reader.i64()?, reader.bytes(50)?.to_vec(), reader.text(50)?.to_owned());
            reader.finish()?;
            peergos_crypto::Result::Ok(fields)
        };
        prop_assert_eq!(read(&stream), Ok((flag, int, long, bytes, text)));
        for cut in 0..stream.len() {
            prop_assert!(read(&stream[..cut]).is_err());
        }
        prop_assert!(read(&[&stream[..], &[0]].concat()).is_err());
    }

    #[test]
    fn lengths_are_bounded(len: i32, max in 0..20usize) {
        let stream = [&len.to_be_bytes()[..], &[0; 20]].concat();
        let fits = usize::try_from(len).is_ok_and(|len| len <= max);
        prop_assert_eq!(Reader::new(&stream).bytes(max).is_ok(), fits);
    }
}

#[test]
fn only_ascii() {
    assert!(Writer::new().text("päss").is_err());
    let mut writer = Writer::new();
    let stream = writer.bytes("päss".as_bytes()).finish();
    assert!(Reader::new(&stream).text(100).is_err());
    assert!(Reader::new(&[2]).bool().is_err());
    assert_eq!(Reader::new(&[1, 2]).rest(), [1, 2]);
}
