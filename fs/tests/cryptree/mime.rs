use peergos_fs::cryptree::mime::detect;

use crate::support::{hex, structures};

#[test]
fn as_the_reference_finds_them() {
    for case in structures()["mimeTypes"].as_array().unwrap() {
        let start = match case["startUtf8"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => hex(&case["startHex"]),
        };
        let name = case["filename"].as_str().unwrap();
        assert_eq!(detect(name, &start), case["mime"].as_str().unwrap(), "{name}");
    }
}

/// Bytes at an offset into zeros.
fn at(offset: usize, bytes: &[u8]) -> Vec<u8> {
    [&vec![0; offset], bytes].concat()
}

#[test]
fn by_content() {
    let ftyp = |brand: &[u8]| [b"\0\0\0\x20ftyp", brand].concat();
    let riff = |kind: &[u8]| [b"RIFF\x10\x20\0\0", kind].concat();
    let ogg = |codec: &[u8]| [b"OggS\0\x02", at(22, codec).as_slice()].concat();
    let cases: [(Vec<u8>, &str); 42] = [
        (b"\x89PNG\r\n\x1a\n".to_vec(), "image/png"),
        (b"\0\0\x01\0".to_vec(), "image/x-icon"),
        (b"\0\0\x02\0".to_vec(), "image/x-icon"),
        (riff(b"WEBP"), "image/webp"),
        (b"\xff\x0a".to_vec(), "image/jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n".to_vec(), "image/jxl"),
        (b"II\x2a\0".to_vec(), "image/tiff"),
        (b"MM\0\x2a".to_vec(), "image/tiff"),
        (ftyp(b"isom"), "video/mp4"),
        (ftyp(b"mp42"), "video/mp4"),
        (ftyp(b"new!"), "video/mp4"),
        (ftyp(b"M4V "), "video/m4v"),
        (ftyp(b"M4V \0\0\0\0isom"), "video/mp4"),
        (ftyp(b"avif"), "image/avif"),
        (ftyp(b"heic"), "image/heic"),
        (ftyp(b"M4A "), "audio/mp4"),
        (ftyp(b"avc1"), "video/h264"),
        (ftyp(b"qt  "), "video/quicktime"),
        (ftyp(b"3gp4"), "video/3gpp"),
        (at(4, b"moov"), "video/quicktime"),
        (at(24, b"webm"), "video/webm"),
        (ogg(b"\x80theora"), "video/ogg"),
        (b"\x1aE\xdf\xa3".to_vec(), "video/x-matroska"),
        (b"FLV".to_vec(), "video/x-flv"),
        (riff(b"AVI "), "video/avi"),
        (b"MThd".to_vec(), "audio/midi"),
        (b"ID3".to_vec(), "audio/mpeg"),
        (b"\xff\xfb".to_vec(), "audio/mpeg"),
        (b"fLaC".to_vec(), "audio/flac"),
        (ogg(b"OpusHead"), "audio/ogg"),
        (riff(b"WAVE"), "audio/wav"),
        (b"FORM\0\0\0\0AIFF".to_vec(), "audio/aiff"),
        (b"%!PS-Adobe-".to_vec(), "application/postscript"),
        (b"\0asm".to_vec(), "application/wasm"),
        (b"\x1f\x8b\x08".to_vec(), "application/x-gzip"),
        (b"Rar!\x1a\x07".to_vec(), "application/x-rar-compressed"),
        (b"wOFF".to_vec(), "font/woff"),
        (b"wOF2".to_vec(), "font/woff2"),
        (b"OTTO".to_vec(), "font/otf"),
        (b"\0\x01\0\0".to_vec(), "font/ttf"),
        (b"\x82\x11".to_vec(), "application/vnd.peergos-post"),
        (b"\x82\x18\x18".to_vec(), "application/vnd.peergos-identity-proof"),
    ];
    for (start, mime) in cases {
        assert_eq!(detect("name", &start), mime, "{start:?}");
        // beyond the first bytes, nothing counts
        let late = at(40, &start);
        assert_eq!(detect("name", &late), "text/plain");
    }
}

#[test]
fn by_content_and_name() {
    let cases: [(&[u8], &str, &str); 16] = [
        (b"\x89PNG\r\n\x1a\n", "favicon.ico", "image/vnd.microsoft.icon"),
        (b"PK\x03\x04", "a.jar", "application/java-archive"),
        (b"PK\x03\x04", "a.epub", "application/epub+zip"),
        (b"PK\x03\x04", "a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        (b"PK\x03\x04", "a.odt", "application/vnd.oasis.opendocument.text"),
        (b"PK\x03\x04", "a.apk", "application/vnd.android.package-archive"),
        (b"BEGIN:VCALENDAR", "a.ics", "text/calendar"),
        (b"BEGIN:VCALENDAR", "a.txt", "text/plain"),
        (b"BEGIN:VCARD", "a.vcf", "text/vcard"),
        (b"<svg xmlns", "a.svg", "image/svg+xml"),
        (b"<?xml ", "a.svg", "image/svg+xml"),
        (b"<?xml ", "a.xml", "text/xml"),
        (b" <!DOCTYPE HTML>", "page", "text/html"),
        (b"int", "main.c", "text/x-c"),
        ("0123456789 0123456789 0123456789 012345é".as_bytes(), "cut in a letter", "text/plain"),
        (b"caf\xe9 noir", "latin1.txt", "application/octet-stream"),
    ];
    for (start, name, mime) in cases {
        assert_eq!(detect(name, start), mime, "{name}");
    }
}
