//! Whether a body without a media type is binary, by its first bytes.
//!
//! The sender did not say what it is. A jar, an archive or an image is passed on as it came: a search
//! of it would find nothing but accidents, and would cost the length that the client gave.

/// How many bytes are looked at, at most (WHATWG MIME Sniffing section 5.2 looks at 1,445).
pub const SNIFFED: usize = 512;

/// The first bytes of formats that may begin without a control character.
const MAGIC: [&[u8]; 21] = [
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ",
    b"BZh",
    b"7z\xbc\xaf\x27\x1c",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"Rar!\x1a",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"%PDF-",
    b"\x7fELF",
    b"\xca\xfe\xba\xbe",
    b"\xcf\xfa\xed\xfe",
    b"OggS",
    b"fLaC",
    b"PAR1",
    b"\xed\xab\xee\xdb",
    b"!<arch>\n",
];

/// The byte order marks of UTF-16 and UTF-32, which is text that holds zero bytes.
const WIDE_MARKS: [&[u8]; 3] = [b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"];

/// Whether a body that begins like this is binary.
pub fn is_binary(start: &[u8]) -> bool {
    let start = &start[..start.len().min(SNIFFED)];
    let begins = |marks: &[&[u8]]| marks.iter().any(|mark| start.starts_with(mark));
    if begins(&WIDE_MARKS) {
        return false;
    }
    begins(&MAGIC) || start.iter().any(|&byte| is_binary_byte(byte))
}

/// The control characters that no text has (WHATWG MIME Sniffing section 3, "binary data byte"), but
/// for the record separator of JSON text sequences (RFC 7464).
fn is_binary_byte(byte: u8) -> bool {
    matches!(byte, 0..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c | 0x1d | 0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_formats_are_known_by_their_first_bytes() {
        for binary in [
            &b"PK\x03\x04rest"[..],
            b"\x1f\x8b\x08",
            b"\xff\xd8\xff\xe0",
            b"%PDF-1.7\n",
            b"text and then \0",
            b"\x93NUMPY\x01",
            b"!<arch>\ndebian-binary",
        ] {
            assert!(is_binary(binary), "{binary:?}");
        }
    }

    #[test]
    fn text_of_every_kind_is_text() {
        for text in [
            &b""[..],
            b"{\"a\":1}\r\n\t",
            "p\u{e4}ssword \u{20ac}".as_bytes(),
            b"\xe4\xf6 Latin-1",
            b"\x1b[31mred\x1b[0m",
            b"\x1e{}\n",
            b"\xff\xfe<\0<\0",
            b"\xef\xbb\xbftext",
        ] {
            assert!(!is_binary(text), "{text:?}");
        }
        let mut late = vec![b'a'; SNIFFED];
        late.push(0);
        assert!(!is_binary(&late), "what follows is not looked at");
    }
}
