//! The action and the run of a request, as its client names them.

use std::sync::Arc;

use crate::error::{Code, Refusal};

use super::token;

/// Longest action or run, in characters.
pub const MAX_LABEL: usize = 128;

/// A text that a client sent as an action or a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Known(Arc<str>),
    /// A token. Its text is not kept.
    Token,
    Unprintable,
}

impl Label {
    pub(super) fn read(text: &[u8]) -> Self {
        if token::looks_like_token(text) {
            return Self::Token;
        }
        parse_label(text).map_or(Self::Unprintable, Self::Known)
    }

    pub(super) fn known(self, what: &'static str) -> Result<Arc<str>, Refusal> {
        let detail = match self {
            Self::Known(label) => return Ok(label),
            Self::Token => {
                format!("{what} holds a token. A token belongs in the proxy password only.")
            }
            Self::Unprintable => {
                format!("{what} must be 1 to {MAX_LABEL} printable ASCII characters.")
            }
        };
        Err(Refusal::new(Code::RequestMalformed, detail))
    }
}

/// An action or run: 1 to 128 printable ASCII characters, which are safe in a header, a ledger line
/// and a terminal.
pub(super) fn parse_label(text: &[u8]) -> Option<Arc<str>> {
    let fits = (1..=MAX_LABEL).contains(&text.len());
    if !fits || !text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    str::from_utf8(text).ok().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_printable_ascii() {
        let longest = "x".repeat(128);
        for good in ["a", "weekly report", "~!", &longest] {
            assert_eq!(parse_label(good.as_bytes()).as_deref(), Some(good));
        }
        for bad in ["", "a\n", "a\tb", "\u{7f}", "é", &"x".repeat(129)] {
            assert_eq!(parse_label(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
