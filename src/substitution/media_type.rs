//! Media types and their parameters (RFC 9110 section 8.3, RFC 2045 section 5.1).

/// A media type with its parameters, unquoted and in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MediaType {
    /// `type/subtype` or, for a disposition, its one word; in lower case.
    pub(super) essence: String,
    parameters: Vec<(String, Vec<u8>)>,
}

impl MediaType {
    /// Reads a `Content-Type` or `Content-Disposition` value. Lenient: what cannot be read as a
    /// parameter is passed over.
    pub(super) fn parse(value: &[u8]) -> Self {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let essence = String::from_utf8_lossy(value[..end].trim_ascii()).to_ascii_lowercase();
        let mut parameters = Vec::new();
        let mut rest = &value[end..];
        while let Some(tail) = rest.strip_prefix(b";") {
            let (parameter, after) = parameter(tail);
            parameters.extend(parameter);
            rest = after;
        }
        Self {
            essence,
            parameters,
        }
    }

    /// The parameter of that lower-case name. `None` if it is missing, and if it is there twice:
    /// recipients disagree on which one counts.
    pub(super) fn parameter(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.parameters.iter().filter(|(other, _)| other == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Whether there is a parameter that extends one of that lower-case name (RFC 2231).
    pub(super) fn has_extended(&self, name: &str) -> bool {
        let mut names = self.parameters.iter().map(|(name, _)| name);
        names.any(|other| {
            other
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('*'))
        })
    }

    /// Whether there is a parameter of that lower-case name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(other, _)| other == name)
    }
}

/// Reads one parameter at the front of `text`, which follows a semicolon, and returns what comes
/// after it: nothing, or the next semicolon on.
fn parameter(text: &[u8]) -> (Option<(String, Vec<u8>)>, &[u8]) {
    let end = memchr::memchr2(b';', b'=', text).unwrap_or(text.len());
    let name = String::from_utf8_lossy(text[..end].trim_ascii()).to_ascii_lowercase();
    if text.get(end) != Some(&b'=') {
        return (None, &text[end..]);
    }
    let raw = text[end + 1..].trim_ascii_start();
    let (value, rest) = match raw.strip_prefix(b"\"") {
        Some(quoted) => quoted_string(quoted),
        None => {
            let end = memchr::memchr(b';', raw).unwrap_or(raw.len());
            (raw[..end].trim_ascii().to_vec(), &raw[end..])
        }
    };
    let next = memchr::memchr(b';', rest).unwrap_or(rest.len());
    (Some((name, value)), &rest[next..])
}

/// Reads up to the closing quotation mark.
fn quoted_string(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'"' => break,
            b'\\' => {
                if let Some((&escaped, tail)) = rest.split_first() {
                    value.push(escaped);
                    rest = tail;
                }
            }
            _ => value.push(byte),
        }
    }
    (value, rest)
}

/// The lines of a header section, each with its continuations.
pub(super) fn header_lines(head: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in head.split(|&byte| byte == b'\n') {
        match lines.last_mut() {
            Some(last) if matches!(line, [b' ' | b'\t', ..]) => {
                last.extend_from_slice(line.trim_ascii_end())
            }
            _ => lines.push(line.trim_ascii_end().to_vec()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_quoted_or_not() {
        let media =
            MediaType::parse(b"Multipart/Form-Data; Boundary=\"a;\\\"b\" ; charset = UTF-8;x");
        assert_eq!(media.essence, "multipart/form-data");
        assert_eq!(media.parameter("boundary"), Some(b"a;\"b".as_slice()));
        assert_eq!(media.parameter("charset"), Some(b"UTF-8".as_slice()));
        assert_eq!(media.parameter("x"), None);
    }

    #[test]
    fn a_repeated_parameter_counts_as_none() {
        let media = MediaType::parse(b"form-data; name=a; name=b");
        assert_eq!(media.parameter("name"), None);
        assert!(media.has("name"));
    }

    #[test]
    fn an_unclosed_quotation_ends_with_the_value() {
        assert_eq!(
            MediaType::parse(b"a/b; c=\"d;e").parameter("c"),
            Some(b"d;e".as_slice())
        );
        assert_eq!(MediaType::parse(b"").essence, "");
    }
}
