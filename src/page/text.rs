//! Text of others, as it is safe to look at.

use std::fmt::Write as _;

use crate::environment::proxy_access::percent_encode;
use crate::vault::readable::deceives;

/// Longest text that is shown of a name that a client chose.
const LONGEST: usize = 160;
/// Longest reason of a client.
const LONGEST_REASON: usize = 300;
/// Longest explanation of a problem.
const LONGEST_EXPLANATION: usize = 1000;

/// What a client or another user chose, for a page. Characters that cannot be seen, or that turn the
/// direction of others, are written as their code points. Templates escape markup.
pub(super) fn shown(text: &str) -> String {
    shown_up_to(LONGEST, text)
}

/// Why a client asks for something, in its words.
pub(super) fn shown_reason(text: &str) -> String {
    shown_up_to(LONGEST_REASON, text)
}

/// What Egret says of a problem, which may quote others.
pub(super) fn explanation(text: &str) -> String {
    shown_up_to(LONGEST_EXPLANATION, text)
}

fn shown_up_to(longest: usize, text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, character) in text.chars().enumerate() {
        if at == longest {
            shown.push('…');
            break;
        }
        if deceives(character) {
            // Writing to a string does not fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// [`shown`] of what may be missing.
pub(super) fn shown_or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .map_or_else(|| "–".to_owned(), shown)
}

/// `1 use`, `2 uses`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    let mut digits = number.to_string();
    let mut at = digits.len();
    while at > 3 {
        at -= 3;
        digits.insert(at, ',');
    }
    let noun = if number == 1 { one } else { many };
    format!("{digits} {noun}")
}

/// A destination as people write it: without the scheme that is the usual one, and without its port.
pub(super) fn host(destination: &str) -> String {
    let plain = destination
        .strip_prefix("https://")
        .map(|rest| rest.strip_suffix(":443").unwrap_or(rest));
    let unprotected = || {
        let rest = destination.strip_suffix(":80")?;
        rest.starts_with("http://").then_some(rest)
    };
    shown(plain.or_else(unprotected).unwrap_or(destination))
}

/// A value of a query string or a path segment, percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    percent_encode(text.as_bytes())
}

/// A query string of the pairs that have a value.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        assert_eq!(shown("a\u{1b}[2J"), "a\\u{1b}[2J");
        assert_eq!(shown("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(shown("שלום é <b>"), "שלום é <b>");
        assert_eq!(shown(&"宽".repeat(500)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn numbers_and_hosts_are_easy_to_read() {
        assert_eq!(count(1, "use", "uses"), "1 use");
        assert_eq!(count(1_234_567, "use", "uses"), "1,234,567 uses");
        assert_eq!(host("https://api.github.com:443"), "api.github.com");
        assert_eq!(host("http://api.github.com:80"), "http://api.github.com");
        assert_eq!(host("http://a.example:8080"), "http://a.example:8080");
        assert_eq!(query(&[("q", "a b"), ("x", "")]), "q=a%20b");
    }
}
