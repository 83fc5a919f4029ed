//! Sizes in bytes and the values that a setting can be read as.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::raw::Value;

/// A size in bytes, written `"1MiB"`, `"64KB"` or as a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) usize);

/// Multipliers by suffix, longest first so that `KiB` is not taken for `B`.
const SUFFIXES: &[(&str, u64)] = &[
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
    ("", 1),
];

fn parse_size(text: &str) -> Option<usize> {
    let upper = text.trim().to_ascii_uppercase();
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((upper.strip_suffix(suffix)?, *factor)))?;
    let number = number.trim_end();
    // `parse` would accept "+5", which is a typing error.
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bytes = number.parse::<u64>().ok()?.checked_mul(factor)?;
    usize::try_from(bytes).ok()
}

/// A setting's type: how it is read from what was typed.
pub(super) trait FromValue: Sized {
    /// Reads `value`; the error says what would have been right.
    fn from_value(value: &Value) -> Result<Self, String>;
}

/// The text of a value that is text in a file, a variable and a flag alike.
fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Bare(text) => Some(text),
        _ => None,
    }
}

/// A number as the file has it, or as text that only the key tells from a name.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Bare(text) => text.parse().ok(),
        _ => None,
    }
}

fn expected<T>(what: &str, value: &Value) -> Result<T, String> {
    Err(format!("expected {what}, found {}", value.describe()))
}

impl FromValue for String {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) | Value::Bare(text) if text.is_empty() => {
                Err("must not be empty".to_owned())
            }
            Value::Text(text) | Value::Bare(text) => Ok(text.clone()),
            other => expected("text in quotes", other),
        }
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Result<Self, String> {
        String::from_value(value).map(PathBuf::from)
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Boolean(boolean) => Ok(*boolean),
            Value::Bare(text) if text == "true" => Ok(true),
            Value::Bare(text) if text == "false" => Ok(false),
            other => expected("true or false", other),
        }
    }
}

impl FromValue for usize {
    fn from_value(value: &Value) -> Result<Self, String> {
        match number(value) {
            Some(number) => usize::try_from(number).map_err(|_| "must not be negative".to_owned()),
            None => expected("a whole number", value),
        }
    }
}

impl FromValue for u16 {
    fn from_value(value: &Value) -> Result<Self, String> {
        match number(value).map(u16::try_from) {
            Some(Ok(port)) if port > 0 => Ok(port),
            _ => expected("a port number from 1 to 65535", value),
        }
    }
}

impl FromValue for Size {
    fn from_value(value: &Value) -> Result<Self, String> {
        let size = match number(value) {
            Some(number) => usize::try_from(number).ok(),
            None => text(value).and_then(parse_size),
        };
        match size {
            Some(size) => Ok(Size(size)),
            None => expected(
                "a size such as \"64KiB\", \"1MiB\" or a number of bytes",
                value,
            ),
        }
    }
}

impl FromValue for Duration {
    fn from_value(value: &Value) -> Result<Self, String> {
        match text(value).map(humantime::parse_duration) {
            Some(Ok(duration)) if duration.is_zero() => Err("must be longer than zero".to_owned()),
            Some(Ok(duration)) => Ok(duration),
            _ => expected("a duration such as \"10s\", \"500ms\" or \"15m\"", value),
        }
    }
}

impl FromValue for SocketAddr {
    fn from_value(value: &Value) -> Result<Self, String> {
        match text(value).map(str::parse) {
            Some(Ok(address)) => Ok(address),
            _ => expected(
                "an IP address and a port such as \"127.0.0.1:7070\" or \"[::1]:7070\"",
                value,
            ),
        }
    }
}

/// Where programs of this machine reach a listener.
pub enum LocalAddress {
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromValue for LocalAddress {
    fn from_value(value: &Value) -> Result<Self, String> {
        let Some(path) = text(value).and_then(|text| text.strip_prefix("unix:")) else {
            return SocketAddr::from_value(value).map(Self::Tcp);
        };
        let path = PathBuf::from(path);
        // The directory in which the server was started is no place that clients know.
        if !path.is_absolute() || path.file_name().is_none() {
            return Err(
                "a Unix socket is named by a whole path such as \"unix:/run/egret/base.sock\""
                    .to_owned(),
            );
        }
        Ok(Self::Unix(path))
    }
}

impl FromValue for IpNet {
    fn from_value(value: &Value) -> Result<Self, String> {
        let network = text(value).and_then(|text| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse().or_else(|_| address()).ok()
        });
        match network {
            Some(network) => Ok(network),
            None => expected(
                "an address range such as \"10.0.0.0/8\" or \"fd00::/8\"",
                value,
            ),
        }
    }
}

/// Reads one of a few words.
pub(super) fn choice<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Result<T, String> {
    let text = match value {
        Value::Text(text) | Value::Bare(text) => text.as_str(),
        _ => "",
    };
    if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*chosen);
    }
    let names: Vec<String> = choices
        .iter()
        .map(|(name, _)| format!("{name:?}"))
        .collect();
    let names = match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        names => names.concat(),
    };
    Err(format!("expected {names}, found {}", value.describe()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("1B", 1),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("1MiB", 1_048_576),
            ("2GiB", 2_147_483_648),
            ("5kB", 5_000),
            ("3MB", 3_000_000),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "B",
            "MiB",
            "-1",
            "+1",
            "1.5MiB",
            "1XB",
            "1 M iB",
            "99999999999GiB",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_a_length() {
        let read = |text: &str| Duration::from_value(&Value::Text(text.to_owned()));
        assert_eq!(read("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(read("500ms"), Ok(Duration::from_millis(500)));
        assert!(read("10").is_err());
        assert!(read("").is_err());
        assert!(read("0s").is_err());
        assert!(Duration::from_value(&Value::Integer(10)).is_err());
    }

    #[test]
    fn a_bare_address_is_a_range_of_one() {
        let range = IpNet::from_value(&Value::Text("10.1.2.3".to_owned()));
        assert_eq!(range, Ok("10.1.2.3/32".parse().expect("a valid range")));
    }

    proptest! {
        #[test]
        fn a_size_in_kibibytes_is_its_number_times_1024(number in 0u32..1_000_000) {
            prop_assert_eq!(parse_size(&format!("{number}KiB")), Some(number as usize * 1024));
        }
    }
}
