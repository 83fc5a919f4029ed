//! `.env` files: `NAME=value`, as shells and most libraries read them.
//!
//! A value may be in single quotes (taken as it is), in double quotes (with `\n`, `\r`, `\t`, `\"`,
//! `\\` and `\$`, over several lines), or bare (to the end of the line, or to a `#` after a space).
//! `$NAME` is not replaced: it is more often a part of a password than a reference.

use super::error::{ImportError, at};
use super::part::offset;
use super::row::{LONGEST_VALUE, Row};
use crate::secret::SecretBytes;
use crate::vault::Kind;

/// Reads the rows; entries without a value are left out.
pub(super) fn read(content: &str) -> Result<Vec<Row>, ImportError> {
    let rows = read_parts(content)?;
    Ok(rows.into_iter().map(|(row, _)| row).collect())
}

/// Reads the rows, each with the part of the file that its value is, quotes included.
pub(super) fn read_parts(content: &str) -> Result<Vec<(Row, &str)>, ImportError> {
    let mut rows = Vec::new();
    let mut lines = Lines {
        rest: content,
        number: 0,
    };
    while let Some(text) = lines.next_line() {
        let text = text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let line = lines.number;
        let text = text.strip_prefix("export ").map_or(text, str::trim_start);
        let Some((name, value)) = text.split_once('=') else {
            return Err(at(line, "write NAME=value"));
        };
        let name = name.trim_end();
        if !is_name(name) {
            return Err(at(line, "a name has letters, digits and `_` only"));
        }
        let begin = value.trim_start();
        let (value, end) = lines.value(begin)?;
        let part = &content[offset(content, begin)..offset(content, end)];
        if value.len() > LONGEST_VALUE {
            return Err(at(line, "the value is longer than 64 KiB"));
        }
        if !value.is_empty() {
            let row = Row {
                line,
                name: name.to_owned(),
                kind: Kind::Secret,
                value: SecretBytes::new(value.into_bytes()),
                hosts: Vec::new(),
                locations: Vec::new(),
            };
            rows.push((row, part));
        }
    }
    Ok(rows)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// What is left of the file.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.number += 1;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// The value that begins with `text`, which may go on in the next lines, and what follows it.
    fn value(&mut self, text: &'a str) -> Result<(String, &'a str), ImportError> {
        match text.as_bytes().first() {
            Some(b'\'') => self.quoted(&text[1..], '\''),
            Some(b'"') => self.quoted(&text[1..], '"'),
            _ => {
                let value = bare(text);
                Ok((value.to_owned(), &text[value.len()..]))
            }
        }
    }

    fn quoted(&mut self, first: &'a str, quote: char) -> Result<(String, &'a str), ImportError> {
        let start = self.number;
        let mut value = String::new();
        let mut text = first;
        loop {
            let mut chars = text.char_indices();
            while let Some((index, char)) = chars.next() {
                if char == quote {
                    let after = text[index + 1..].trim_start();
                    if !after.is_empty() && !after.starts_with('#') {
                        return Err(at(self.number, "there is text after the closing quote"));
                    }
                    return Ok((value, &text[index + 1..]));
                }
                if char == '\\' && quote == '"' {
                    match chars.next() {
                        Some((_, escaped)) => unescape(escaped, &mut value),
                        None => value.push('\\'),
                    }
                } else {
                    value.push(char);
                }
            }
            value.push('\n');
            text = self
                .next_line()
                .ok_or_else(|| at(start, "the quote is never closed"))?;
        }
    }
}

fn unescape(char: char, value: &mut String) {
    match char {
        'n' => value.push('\n'),
        'r' => value.push('\r'),
        't' => value.push('\t'),
        '"' | '\\' | '$' => value.push(char),
        other => value.extend(['\\', other]),
    }
}

/// A value without quotes ends at a comment.
fn bare(text: &str) -> &str {
    let end = text.match_indices('#').map(|(index, _)| index);
    let mut comments =
        end.filter(|&index| index == 0 || text.as_bytes()[index - 1].is_ascii_whitespace());
    comments
        .next()
        .map_or(text, |index| &text[..index])
        .trim_end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        let rows = read(text).expect("a file that can be read");
        let text = |row: Row| {
            (
                row.name,
                String::from_utf8(row.value.expose().to_vec()).unwrap(),
            )
        };
        rows.into_iter().map(text).collect()
    }

    fn one(text: &str) -> String {
        values(text).remove(0).1
    }

    #[test]
    fn values_are_read_as_shells_read_them() {
        for (text, value) in [
            ("A=b", "b"),
            ("export A=b", "b"),
            ("  A = b  ", "b"),
            ("A=b # remark", "b"),
            ("A=b#c", "b#c"),
            ("A='b # $C \\n'", "b # $C \\n"),
            ("A=\"b\\nc\\\"d\\\\e\\$f\\g\"", "b\nc\"d\\e$f\\g"),
            (
                "A=\"-----BEGIN\nline\n-----END\" # remark",
                "-----BEGIN\nline\n-----END",
            ),
            ("A=b=c==", "b=c=="),
            ("A=$B", "$B"),
            ("A=b\r\n", "b"),
        ] {
            assert_eq!(one(text), value, "{text:?}");
        }
    }

    #[test]
    fn what_has_no_value_is_left_out() {
        assert_eq!(
            values("# remark\n\nA=\nB=''\nC=c\n"),
            [("C".to_owned(), "c".to_owned())]
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_by_its_number() {
        assert_eq!(read("A=1\nhunter2").unwrap_err(), at(2, "write NAME=value"));
        assert_eq!(
            read("A=\"hunter2\n\n").unwrap_err(),
            at(1, "the quote is never closed")
        );
        assert!(
            read("hunter 2=x")
                .unwrap_err()
                .to_string()
                .starts_with("line 1: a name")
        );
        assert!(read("A='x' y").is_err());
    }

    proptest! {
        #[test]
        fn what_is_in_single_quotes_is_kept(value in "[^'\r]{1,80}") {
            prop_assert_eq!(one(&format!("A='{value}'")), value);
        }

        #[test]
        fn nothing_makes_it_panic_or_quote(text in "(?s).{0,200}") {
            if let Err(error) = read(&text) {
                prop_assert!(error.to_string().starts_with("line "));
            }
        }
    }
}
