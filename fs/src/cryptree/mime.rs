//! The mime type of a file, found out as the reference client does (spec 03 §4.7, appendix A): web clients choose icons
//! and viewers by it.

/// How many bytes of the content [`detect`] looks at.
pub const PREFIX_LEN: usize = 40;

/// The type of the file called `name` whose content starts with `start`.
pub fn detect(name: &str, start: &[u8]) -> &'static str {
    let start = &start[..start.len().min(PREFIX_LEN)];
    let content = Content { name, start };
    content
        .image()
        .or_else(|| content.iso_media())
        .or_else(|| content.video())
        .or_else(|| content.audio())
        .or_else(|| content.document())
        .or_else(|| content.text())
        .unwrap_or("application/octet-stream")
}

struct Content<'a> {
    name: &'a str,
    start: &'a [u8],
}

impl Content<'_> {
    /// Whether `magic` stands at `offset`; bytes that are missing never match.
    fn at(&self, offset: usize, magic: &[u8]) -> bool {
        self.start.get(offset..).is_some_and(|rest| rest.starts_with(magic))
    }

    fn starts(&self, magic: &[u8]) -> bool {
        self.at(0, magic)
    }

    fn named(&self, suffix: &str) -> bool {
        self.name.ends_with(suffix)
    }

    fn image(&self) -> Option<&'static str> {
        let found = if self.starts(b"BM") {
            "image/bmp"
        } else if self.starts(b"GIF") {
            "image/gif"
        } else if self.starts(b"\x89PNG\r\n\x1a\n") {
            if self.named(".ico") { "image/vnd.microsoft.icon" } else { "image/png" }
        } else if self.starts(b"\xff\xd8") {
            "image/jpg"
        } else if self.starts(b"\0\0\x01\0") || self.starts(b"\0\0\x02\0") {
            "image/x-icon"
        } else if self.starts(b"RIFF") && self.at(8, b"WEBP") {
            "image/webp"
        } else if self.starts(b"\xff\x0a") || self.starts(b"\0\0\0\x0cJXL \r\n\x87\n") {
            "image/jxl"
        } else if self.starts(b"II\x2a\0") || self.starts(b"MM\0\x2a") {
            "image/tiff"
        } else {
            return None;
        };
        Some(found)
    }

    /// The family of formats that start with an `ftyp` box, which names the brand.
    fn iso_media(&self) -> Option<&'static str> {
        const BRANDS: [(&[u8], &str); 7] = [
            (b"M4V ", "video/m4v"),
            (b"avif", "image/avif"),
            (b"heic", "image/heic"),
            (b"M4A ", "audio/mp4"),
            (b"avc1", "video/h264"),
            (b"qt  ", "video/quicktime"),
            (b"3gp", "video/3gpp"),
        ];
        if !(self.starts(b"\0") && self.at(4, b"ftyp")) {
            return None;
        }
        let brand = BRANDS.iter().find(|(brand, _)| self.at(8, brand) && !self.at(16, b"isom"));
        Some(brand.map_or("video/mp4", |(_, mime)| mime))
    }

    fn ogg(&self, codecs: &[&[u8]]) -> bool {
        self.starts(b"OggS\0\x02") && codecs.iter().any(|codec| self.at(28, codec))
    }

    fn video(&self) -> Option<&'static str> {
        let found = if self.at(4, b"pnot") || self.at(4, b"moov") || self.at(4, b"mdat") {
            "video/quicktime"
        } else if self.at(24, b"webm") {
            "video/webm"
        } else if self.ogg(&[b"\x80theora", b"fishead\0", b"\x01video\0\0\0"]) {
            "video/ogg"
        } else if self.starts(b"\x1aE\xdf\xa3") {
            "video/x-matroska"
        } else if self.starts(b"FLV") {
            "video/x-flv"
        } else if self.at(8, b"AVI ") {
            "video/avi"
        } else {
            return None;
        };
        Some(found)
    }

    fn audio(&self) -> Option<&'static str> {
        let found = if self.starts(b"MThd") {
            "audio/midi"
        } else if self.starts(b"ID3") || self.starts(b"\xff\xfb") || self.starts(b"\xff\xfa") {
            "audio/mpeg"
        } else if self.starts(b"fLaC") {
            "audio/flac"
        } else if self.ogg(&[b"OpusHead", b"\x7fFLAC", b"\x01vorbis", b"Speex   "]) {
            "audio/ogg"
        } else if self.starts(b"RIFF") && self.at(8, b"WAVE") {
            "audio/wav"
        } else if self.starts(b"FORM") && self.at(8, b"AIFF") {
            "audio/aiff"
        } else {
            return None;
        };
        Some(found)
    }

    fn document(&self) -> Option<&'static str> {
        const MAGIC: [(&[u8], &str); 11] = [
            (b"%PDF", "application/pdf"),
            (b"%!PS-Adobe-", "application/postscript"),
            (b"\0asm", "application/wasm"),
            (b"\x1f\x8b\x08", "application/x-gzip"),
            (b"Rar!\x1a\x07", "application/x-rar-compressed"),
            (b"wOFF", "font/woff"),
            (b"wOF2", "font/woff2"),
            (b"OTTO", "font/otf"),
            (b"\0\x01\0\0", "font/ttf"),
            (b"\x82\x11", "application/vnd.peergos-post"),
            (b"\x82\x18\x18", "application/vnd.peergos-identity-proof"),
        ];
        if self.starts(b"PK\x03\x04") {
            return Some(self.zip());
        }
        MAGIC.iter().find(|(magic, _)| self.starts(magic)).map(|(_, mime)| *mime)
    }

    fn zip(&self) -> &'static str {
        const BY_NAME: [(&str, &str); 9] = [
            (".jar", "application/java-archive"),
            (".epub", "application/epub+zip"),
            (".pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
            (".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            (".xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
            (".odt", "application/vnd.oasis.opendocument.text"),
            (".ods", "application/vnd.oasis.opendocument.spreadsheet"),
            (".odp", "application/vnd.oasis.opendocument.presentation"),
            (".apk", "application/vnd.android.package-archive"),
        ];
        BY_NAME.iter().find(|(suffix, _)| self.named(suffix)).map_or("application/zip", |(_, mime)| mime)
    }

    fn text(&self) -> Option<&'static str> {
        let text = match std::str::from_utf8(self.start) {
            Ok(text) => text,
            // the last character may be cut off
            Err(e) if e.error_len().is_none() => std::str::from_utf8(&self.start[..e.valid_up_to()]).ok()?,
            Err(_) => return None,
        };
        let found = if self.named(".ics") && text.starts_with("BEGIN:VCALENDAR") {
            "text/calendar"
        } else if self.named(".vcf") && text.starts_with("BEGIN:VCARD") {
            "text/vcard"
        } else if self.named(".svg") && (text.starts_with("<?xml") || text.starts_with("<svg ")) {
            "image/svg+xml"
        } else {
            let extension = self.name.rsplit_once('.').map_or("", |(_, extension)| extension);
            match by_extension(extension) {
                Some(mime) => mime,
                None => {
                    let lower = text.to_lowercase();
                    if lower.contains("html>") || lower.contains("<html") { "text/html" } else { "text/plain" }
                }
            }
        };
        Some(found)
    }
}

/// The types of texts that only their name gives away.
fn by_extension(extension: &str) -> Option<&'static str> {
    let mime = match extension {
        "html" => "text/html",
        "css" => "text/css",
        "js" | "mjs" => "text/javascript",
        "json" => "application/json",
        "md" => "text/md",
        "csv" => "text/csv",
        "edn" => "text/x-clojure",
        // as the reference has it
        "excalidraw" => "text/application/vnd.excalidraw+json",
        "xml" => "text/xml",
        "asp" => "text/asp",
        "rt" | "rtf" | "rtx" => "text/richtext",
        "java" => "text/x-java-source",
        "gv" => "text/vnd.graphviz",
        "f" => "text/x-fortran",
        "s" => "text/x-asm",
        "p" => "text/x-pascal",
        "yaml" => "text/yaml",
        "c" => "text/x-c",
        "c9r" | "c9s" | "bkup" | "cryptomator" => "application/vnd.cryptomator.encrypted",
        _ => return None,
    };
    Some(mime)
}
