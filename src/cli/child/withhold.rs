//! Inherited variables that hold a stored value are kept from the child: a placeholder protects
//! nothing if the child has the value too.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

use crate::environment::proxy_access::percent_encode;
use crate::scrub::{MIN_SEARCHED, Needles};
use crate::secret::SecretBytes;

/// Shortest value that is looked for. A shorter one is the content of too many variables.
const SHORTEST: usize = 4;

/// Values that must not be in the child's environment, prepared for searching.
pub(in crate::cli) struct Withheld {
    /// Looked for anywhere in a variable, in every form in which answers are searched.
    long: Needles,
    /// Compared with whole variables, since they occur inside of others by chance.
    short: Vec<Arc<SecretBytes>>,
}

/// A variable that is kept from the child.
pub(in crate::cli) struct Kept {
    pub(in crate::cli) name: OsString,
    /// The name itself holds a value, so it must not be printed either.
    pub(in crate::cli) is_name_secret: bool,
}

impl Withheld {
    pub(in crate::cli) fn new(values: Vec<Arc<SecretBytes>>) -> Self {
        let (long, short): (Vec<_>, Vec<_>) = values
            .into_iter()
            .filter(|value| value.expose().len() >= SHORTEST)
            .partition(|value| value.expose().len() >= MIN_SEARCHED);
        Self {
            long: Needles::new(long.into_iter().map(|value| (String::new(), value))),
            short,
        }
    }

    /// The variables that hold one of the values, in their order. Their content is not returned.
    pub(in crate::cli) fn of(
        &self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Vec<Kept> {
        variables
            .filter_map(|(name, content)| {
                let is_name_secret = self.is_in(&name);
                let is_kept = is_name_secret || self.is_in(&content);
                is_kept.then_some(Kept {
                    name,
                    is_name_secret,
                })
            })
            .collect()
    }

    fn is_in(&self, text: &OsStr) -> bool {
        let text = text.as_encoded_bytes();
        !self.long.find(text).is_empty()
            || self
                .short
                .iter()
                .any(|value| is_whole(text, value.expose()))
    }
}

/// Whether `text` is the value, or the value in one of the usual encodings.
fn is_whole(text: &[u8], value: &[u8]) -> bool {
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    text == value
        || text == BASE64_STANDARD.encode(value).as_bytes()
        || text == BASE64_URL_SAFE_NO_PAD.encode(value).as_bytes()
        || text.eq_ignore_ascii_case(hex.as_bytes())
        || text.eq_ignore_ascii_case(percent_encode(value).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(values: &[&[u8]], variables: &[(&str, &str)]) -> Vec<String> {
        let values = values.iter();
        let values = values.map(|value| Arc::new(SecretBytes::new(value.to_vec())));
        let variables = variables.iter();
        let kept = Withheld::new(values.collect())
            .of(variables.map(|(name, content)| (name.into(), content.into())));
        let name = |kept: Kept| kept.name.into_string().expect("text");
        kept.into_iter().map(name).collect()
    }

    const VARIABLES: [(&str, &str); 5] = [
        ("DATABASE_URL", "postgres://u:correct-horse@h/d"),
        ("PIN", "4711"),
        ("PORT", "47110"),
        ("PATH", "/bin"),
        ("TOKEN", "correct-horse"),
    ];

    #[test]
    fn a_value_is_found_inside_a_variable() {
        let value = b"correct-horse";
        assert_eq!(kept(&[value], &VARIABLES), ["DATABASE_URL", "TOKEN"]);
    }

    #[test]
    fn a_short_value_has_to_be_the_whole_variable() {
        assert_eq!(kept(&[b"4711"], &VARIABLES), ["PIN"]);
        let encoded = [
            ("A", "NDcxMQ=="),
            ("B", "NDcxMQ"),
            ("C", "34373131"),
            ("D", "NDcxMQ==x"),
        ];
        assert_eq!(kept(&[b"4711"], &encoded), ["A", "B", "C"]);
    }

    #[test]
    fn a_value_that_occurs_by_chance_withholds_nothing() {
        assert_eq!(kept(&[b"a", b"/bi", b""], &VARIABLES), [] as [&str; 0]);
    }

    #[test]
    fn a_value_is_found_in_every_usual_encoding_and_under_any_name() {
        let value = b"correct/horse+\xff\x00 battery";
        let hex: String = value.iter().map(|byte| format!("{byte:02X}")).collect();
        let url = base64::prelude::BASE64_URL_SAFE;
        let after = |prefix: &[u8]| BASE64_STANDARD.encode([prefix, value].concat());
        let variables = [
            ("A", BASE64_STANDARD.encode(value)),
            ("B", url.encode(value)),
            ("C", format!("Basic {}", after(b"user:"))),
            ("D", format!("Basic {}", after(b"u:"))),
            ("E", hex.clone()),
            ("F", hex.to_lowercase()),
            ("G", percent_encode(value)),
            (
                "H",
                format!(
                    "https://h/?t={}",
                    percent_encode(BASE64_STANDARD.encode(value).as_bytes())
                ),
            ),
            ("NOT", BASE64_STANDARD.encode(b"something else altogether")),
        ];
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let expected = ["A", "B", "C", "D", "E", "F", "G", "H"];
        assert_eq!(kept(&[value], &variables), expected);
    }

    #[test]
    fn a_name_that_holds_a_value_is_marked() {
        let value = Arc::new(SecretBytes::new(b"correct-horse".to_vec()));
        let variable = ("x_correct-horse".into(), "1".into());
        let kept = Withheld::new(vec![value]).of(std::iter::once(variable));
        assert!(kept.len() == 1 && kept[0].is_name_secret);
    }
}
