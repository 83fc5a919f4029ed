//! JSON: a value for each name, or an object that says more.
//!
//! ```json
//! {
//!   "github-pat": "ghp_…",
//!   "crm": { "kind": "login", "value": { "username": "u", "password": "p" },
//!            "hosts": ["crm.example.com"], "in": ["header:authorization"] }
//! }
//! ```

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::error::ImportError;
use super::row::{LONGEST_VALUE, MOST_ROWS, Row};
use crate::policy::grant::HostPattern;
use crate::policy::location::LocationRule;
use crate::secret::SecretBytes;
use crate::vault::Kind;

/// The entries in the order of the file; a name that occurs twice stays twice, and is refused.
struct Entries(Vec<(String, serde_json::Value)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    value: Content,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default, rename = "in")]
    locations: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Fields(serde_json::Map<String, serde_json::Value>),
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                    if entries.len() > MOST_ROWS {
                        return Err(de::Error::custom("too many"));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads the rows.
pub(super) fn read(content: &str) -> Result<Vec<Row>, ImportError> {
    let Entries(entries) = serde_json::from_str(content).map_err(|error| ImportError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    let entries = entries.into_iter().enumerate();
    entries
        .map(|(index, (name, entry))| row(index + 1, name, entry))
        .collect()
}

fn row(number: usize, name: String, entry: serde_json::Value) -> Result<Row, ImportError> {
    let wrong = |reason| ImportError::Entry { number, reason };
    let described = match entry {
        serde_json::Value::String(value) => Described {
            value: Content::Text(value),
            kind: None,
            hosts: Vec::new(),
            locations: Vec::new(),
        },
        entry @ serde_json::Value::Object(_) => {
            let read = serde_json::from_value(entry);
            read.map_err(|_| wrong("its members are `value`, `kind`, `hosts` and `in`"))?
        }
        _ => return Err(wrong("it is neither text nor an object")),
    };
    let natural = match &described.value {
        Content::Text(_) => Kind::Secret,
        Content::Fields(_) => Kind::Fields,
    };
    let kind = described.kind.map_or(Ok(natural), |text| {
        text.parse()
            .map_err(|_| wrong("`kind` is secret, login or fields"))
    })?;
    let value = match described.value {
        Content::Text(text) => text.into_bytes(),
        Content::Fields(fields) => serde_json::to_vec(&fields)
            .map_err(|_| wrong("its fields cannot be written as JSON"))?,
    };
    if value.is_empty() || value.len() > LONGEST_VALUE {
        return Err(wrong("its value is empty, or longer than 64 KiB"));
    }
    let hosts = described
        .hosts
        .iter()
        .map(|host| host.parse::<HostPattern>());
    let locations = described
        .locations
        .iter()
        .map(|place| place.parse::<LocationRule>());
    Ok(Row {
        line: number,
        name,
        kind,
        value: SecretBytes::new(value),
        hosts: hosts
            .collect::<Result<_, _>>()
            .map_err(|_| wrong("one of its `hosts` is no host"))?,
        locations: locations
            .collect::<Result<_, _>>()
            .map_err(|_| wrong("one of its `in` is no place"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_descriptions_are_read_in_order() {
        let rows = read(
            r#"{"b":"1","a":{"value":{"username":"u","password":"p"},"kind":"login","hosts":["a.test"],
                "in":["header:x-key"]}}"#,
        )
        .expect("a file that can be read");
        assert_eq!(
            (rows[0].name.as_str(), rows[0].value.expose()),
            ("b", &b"1"[..])
        );
        assert_eq!(
            (rows[1].kind, rows[1].hosts.len(), rows[1].locations.len()),
            (Kind::Login, 1, 1)
        );
    }

    #[test]
    fn no_error_quotes_the_file() {
        for text in [
            "{\"a\": hunter2}",
            "{\"a\": {\"value\": \"hunter2\", \"hosts\": [\"hunter2 x\"]}}",
            "{\"a\": {\"value\": \"hunter2\", \"kind\": \"hunter2\"}}",
            "{\"a\": {\"hunter2\": 1}}",
            "{\"a\": [\"hunter2\"]}",
            "[\"hunter2\"]",
            "hunter2",
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
