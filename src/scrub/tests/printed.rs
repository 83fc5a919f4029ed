//! Forms that programs print values in: keys line by line, other charsets, folded base64.

use super::encoders::hex;
use super::*;

const VALUE: &[u8] = b"s3cr3t+Canary/9f8e7d6c5b4a";

/// What is found, whole and byte by byte, which has to be the same.
fn cut_anyhow(needles: &Arc<Needles>, text: &str) -> (String, Vec<Hit>) {
    let whole = scrub(needles, text.as_bytes());
    for size in [1, 2, 3, 7, 30] {
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let cut = scrub_with(needles, Replacement::Placeholder, &chunks);
        assert_eq!(cut, whole, "in pieces of {size}: {text}");
    }
    (String::from_utf8_lossy(&whole.0).into_owned(), whole.1)
}

/// As .NET prints bytes.
#[test]
fn hex_with_hyphens_is_found() {
    let digits = String::from_utf8_lossy(&hex(VALUE, "-", true)).into_owned();
    let (out, hits) = cut_anyhow(&one(VALUE), &format!("bytes: {digits}."));
    assert_eq!(out, "bytes: <<a>>.");
    assert_eq!(hits[0].form, HitForm::Hex);
}

/// A key of no value, as OpenSSL writes them.
fn key(end: &str) -> String {
    let bytes: Vec<u8> = (0..200_u32).map(|n| (n * 167 + n * n % 91) as u8).collect();
    let text = STANDARD.encode(&bytes);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .flat_map(std::str::from_utf8)
        .collect();
    let lines = lines.join(end);
    let label = "PRIVATE KEY";
    format!("-----BEGIN {label}-----{end}{lines}{end}-----END {label}-----{end}")
}

#[test]
fn a_private_key_is_found_however_its_lines_are_printed() {
    let saved = key("\n");
    let needles = one(saved.trim_end().as_bytes());
    let lines = || saved.lines();
    let prefixed = |prefix: &str| lines().map(|line| format!("{prefix}{line}\n")).collect();
    let body: String = lines().filter(|line| !line.starts_with('-')).collect();
    let rewrapped: Vec<&str> = body
        .as_bytes()
        .chunks(76)
        .flat_map(std::str::from_utf8)
        .collect();
    let texts: [String; 10] = [
        saved.clone(),
        key("\r\n"),
        key(""),
        key(" "),
        key("\\n"),
        key("\\\\\\\\n"),
        prefixed("    "),
        prefixed("2026-11-30T03:53:20Z key: "),
        prefixed("\"+ \""),
        rewrapped.join("\n"),
    ];
    for text in texts {
        let (out, hits) = cut_anyhow(&needles, &text);
        assert!(!hits.is_empty(), "{text}");
        for piece in body.as_bytes().windows(16).step_by(5) {
            assert!(!contains(out.as_bytes(), piece), "{out}");
        }
    }
    let labels: String = lines().filter(|line| line.starts_with('-')).collect();
    assert_eq!(cut_anyhow(&needles, &labels).0, labels);
}

#[test]
fn text_in_another_charset_is_found() {
    let value = "pässwörd-ñandú€";
    let needles = one(value.as_bytes());
    let latin1 = |text: &str| -> Vec<u8> {
        let byte = |c: char| if c == '€' { 0x80 } else { c as u8 };
        text.chars().map(byte).collect()
    };
    let misread: String = value.bytes().map(char::from).collect();
    let texts: [Vec<u8>; 6] = [
        latin1(value),
        latin1(value).escape_ascii().to_string().into_bytes(),
        super::encoders::percent(&latin1(value), |_| false, true, false),
        misread.clone().into_bytes(),
        super::encoders::json(&misread, false, false, true),
        value
            .replace('€', "â‚¬")
            .replace('ä', "Ã¤")
            .replace('ö', "Ã¶")
            .replace('ñ', "Ã±")
            .replace('ú', "Ãº")
            .into_bytes(),
    ];
    for text in texts {
        let text = [b"<", &text[..], b">"].concat();
        let (out, hits) = scrub(&needles, &text);
        assert_eq!(out, b"<<<a>>>", "{}", text.escape_ascii());
        assert_eq!(hits.len(), 1);
    }
}

#[test]
fn folded_base64_is_found_whole() {
    let needles = one(&[VALUE, VALUE].concat());
    let plain = [&[b'.'; 40][..], VALUE, VALUE, &[b'.'; 60]].concat();
    let text = STANDARD.encode(&plain);
    // The last one is a file as the API of GitHub gives it.
    for (width, fold) in [(76, "\r\n "), (64, "\n    "), (60, "\n\t"), (60, "\\n")] {
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(width)
            .flat_map(std::str::from_utf8)
            .collect();
        let (out, hits) = cut_anyhow(&needles, &lines.join(fold));
        assert_eq!(hits.len(), 1);
        let lines = out.replace("\\n", "\n");
        let decoded = STANDARD.decode(lines.split_whitespace().collect::<String>());
        let expected = [&[b'.'; 40][..], b"<<a>>", &[b'.'; 60]].concat();
        assert_eq!(decoded.as_deref(), Ok(&expected[..]), "{out}");
    }
}

/// OAuth clients encode credentials as a form does, before base64 (RFC 6749 section 2.3.1).
#[test]
fn form_encoding_inside_of_base64_is_found() {
    let needles = one(b"p@ss w+rd=&%#");
    for before in ["id:", "i:", "", "client:"] {
        let sent = STANDARD.encode(format!("{before}p%40ss+w%2Brd%3D%26%25%23"));
        let (out, hits) = cut_anyhow(&needles, &format!("Basic {sent}"));
        assert_eq!(hits.len(), 1, "{sent}");
        let out = out.strip_prefix("Basic ").expect("the scheme");
        let plain = STANDARD.decode(out);
        assert_eq!(plain.as_deref(), Ok(format!("{before}<<a>>").as_bytes()));
    }
}
