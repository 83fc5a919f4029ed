//! Forms with files, as browsers send them (RFC 7578). The whole body is there already, and is short.

use memchr::memmem;

/// A part: its name, and its bytes.
pub(super) type Part = (String, Vec<u8>);

/// The parts of a body; `None` if this is no form with files.
pub(super) fn parse(content_type: &str, body: &[u8], most: usize) -> Option<Vec<Part>> {
    let boundary = boundary(content_type)?;
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    // The first delimiter has no line before it.
    let first = body.strip_prefix(&delimiter[2..])?;
    let mut parts = Vec::new();
    let mut rest = first;
    while !rest.starts_with(b"--") && parts.len() < most {
        let end = memmem::find(rest, &delimiter)?;
        let part = rest[..end].strip_prefix(b"\r\n")?;
        let head = memmem::find(part, b"\r\n\r\n")?;
        let text = std::str::from_utf8(&part[..head]).ok()?;
        parts.push((name(text)?, part[head + 4..].to_vec()));
        rest = &rest[end + delimiter.len()..];
    }
    Some(parts)
}

fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let (name, boundary) = parameters.trim().split_once('=')?;
    let boundary = boundary.trim_matches('"');
    let is_boundary = !boundary.is_empty() && boundary.len() <= 70;
    (name.eq_ignore_ascii_case("boundary") && is_boundary).then_some(boundary)
}

/// The name of a part. Browsers write a quote in it as `%22`; none of ours has one.
fn name(head: &str) -> Option<String> {
    let mut lines = head.split("\r\n");
    let disposition = lines.find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field
            .eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    })?;
    let mut parameters = disposition.split(';').map(str::trim);
    let quoted = parameters.find_map(|parameter| parameter.strip_prefix("name="))?;
    Some(quoted.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: &str = "multipart/form-data; boundary=----x";

    fn body(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, content) in parts {
            let head = format!(
                "------x\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.pem\"\r\n\
                 Content-Type: text/plain\r\n\r\n"
            );
            body.extend([head.as_bytes(), content, b"\r\n"].concat());
        }
        body.extend(b"------x--\r\n");
        body
    }

    #[test]
    fn what_is_no_form_with_files_is_none() {
        for (kind, text) in [
            ("application/x-www-form-urlencoded", &b"a=b"[..]),
            ("multipart/form-data", b"------x--\r\n"),
            (KIND, b""),
            (
                KIND,
                b"------x\r\nContent-Disposition: form-data\r\n\r\na\r\n------x--\r\n",
            ),
            (
                KIND,
                b"------x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ncut",
            ),
        ] {
            assert!(parse(kind, text, 9).is_none(), "{kind}");
        }
        assert_eq!(parse(KIND, b"------x--\r\n", 9), Some(Vec::new()));
        let many = body(&[("a", b"1"), ("b", b"2")]);
        assert_eq!(parse(KIND, &many, 1).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn parts_come_out_as_they_were_put_in(one: Vec<u8>, other: Vec<u8>) {
            let parts = [("value_file", &one[..]), ("hosts", &other[..])];
            let read = parse(KIND, &body(&parts), 9).unwrap();
            prop_assert_eq!(read, vec![("value_file".to_owned(), one), ("hosts".to_owned(), other)]);
        }

        #[test]
        fn nothing_makes_it_fail(text: Vec<u8>) {
            let _ = parse(KIND, &[b"------x\r\n", &text[..]].concat(), 9);
        }
    }
}
