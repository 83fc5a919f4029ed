//! Fields of a body that an owner is shown with a question: those that the destination's rule names.
//!
//! What is shown is what the upstream reads, or it is said that this is not known: a field that is there
//! twice, or twice but for the case of letters, is read in one way by one server and in another by the
//! next. Placeholders are still in their places.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::substitution::body::{BodyKind, classify};

/// Longest text of a field that is shown, in characters.
const LONGEST: usize = 60;

/// The fields `names` of a body, each after a semicolon; empty where none are named.
pub fn shown(content_type: Option<&[u8]>, body: &[u8], names: &[String]) -> String {
    let mut text = String::new();
    if names.is_empty() {
        return text;
    }
    let json: Option<Tree> = match classify(content_type) {
        BodyKind::Json => serde_json::from_slice(body).ok(),
        _ => None,
    };
    let is_form = classify(content_type) == BodyKind::Form;
    for name in names {
        let found = match &json {
            Some(tree) => tree.find(name),
            None if is_form => find_in_form(body, name),
            None => Found::Nothing,
        };
        // Writing to a string does not fail.
        let _ = write!(text, "; {name} {found}");
    }
    text
}

/// What is under a name.
enum Found {
    One(String),
    Several,
    Nothing,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(text) => write!(f, "= {text}"),
            Self::Several => f.write_str("is there more than once"),
            Self::Nothing => f.write_str("is not there"),
        }
    }
}

fn find_in_form(body: &[u8], name: &str) -> Found {
    let pairs = form_urlencoded::parse(body);
    let mut named = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    match (named.next(), named.next()) {
        (Some((_, value)), None) => Found::One(quoted(&value)),
        (Some(_), Some(_)) => Found::Several,
        (None, _) => Found::Nothing,
    }
}

/// A text in quotes, so that it cannot pass for another field.
fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    Value::String(short).to_string()
}

/// A JSON document that has kept all members of its objects, also those of the same name.
enum Tree {
    Object(Vec<(String, Tree)>),
    List(Vec<Tree>),
    Leaf(Value),
}

impl Tree {
    /// What is at the top level under a name, or where a JSON pointer leads (RFC 6901).
    fn find(&self, name: &str) -> Found {
        let steps: Vec<String> = match name.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect(),
            None => vec![name.to_owned()],
        };
        let mut at = self;
        for step in &steps {
            at = match at {
                Self::Object(members) => {
                    let mut named = members
                        .iter()
                        .filter(|(key, _)| key.eq_ignore_ascii_case(step));
                    match (named.next(), named.next()) {
                        (Some((_, value)), None) => value,
                        (Some(_), Some(_)) => return Found::Several,
                        (None, _) => return Found::Nothing,
                    }
                }
                Self::List(items) => match step.parse().ok().and_then(|at: usize| items.get(at)) {
                    Some(item) => item,
                    None => return Found::Nothing,
                },
                Self::Leaf(_) => return Found::Nothing,
            };
        }
        Found::One(match at {
            Self::Object(members) => format!("an object of {}", members.len()),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Leaf(Value::String(text)) => quoted(text),
            Self::Leaf(value) => value.to_string(),
        })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Tree::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<&[u8]> = Some(b"application/json");
    const FORM: Option<&[u8]> = Some(b"application/x-www-form-urlencoded");

    fn of(kind: Option<&[u8]>, body: &str, name: &str) -> String {
        shown(kind, body.as_bytes(), &[name.to_owned()])
    }

    #[test]
    fn named_fields_of_json_and_forms_are_shown() {
        let order = r#"{"to":"bob@example.com","order":{"amount":12.5,"lines":[{"id":7},null]}}"#;
        for (name, expected) in [
            ("to", "; to = \"bob@example.com\""),
            ("/to", "; /to = \"bob@example.com\""),
            ("/order/amount", "; /order/amount = 12.5"),
            ("/order/lines/0/id", "; /order/lines/0/id = 7"),
            ("/order/lines/1", "; /order/lines/1 = null"),
            ("/order/lines", "; /order/lines = a list of 2"),
            ("order", "; order = an object of 2"),
            ("amount", "; amount is not there"),
            ("/order/lines/9", "; /order/lines/9 is not there"),
            ("/to/x", "; /to/x is not there"),
        ] {
            assert_eq!(of(JSON, order, name), expected);
        }
        assert_eq!(
            of(FORM, "to=bob%40example.com&n=1", "to"),
            "; to = \"bob@example.com\""
        );
        assert_eq!(shown(JSON, order.as_bytes(), &[]), "");
        assert_eq!(of(None, order, "to"), "; to is not there");
        assert_eq!(of(JSON, "{\"to\":", "to"), "; to is not there");
    }

    #[test]
    fn what_two_servers_would_read_differently_is_not_shown_as_one() {
        let several = "; to is there more than once";
        for (kind, body) in [
            (JSON, r#"{"to":"bob","to":"eve"}"#),
            (JSON, r#"{"to":"bob","To":"eve"}"#),
            (JSON, r#"{"to":"bob","t\u006f":"eve"}"#),
            (FORM, "to=bob&to=eve"),
            (FORM, "to=bob&%74o=eve"),
            (FORM, "to=bob&TO=eve"),
        ] {
            assert_eq!(of(kind, body, "to"), several, "{body}");
        }
    }

    #[test]
    fn a_value_passes_for_no_other_field_and_is_bounded() {
        let hostile = r#"{"to":"x\"; amount = 1\u001b[2J"}"#;
        assert_eq!(
            of(JSON, hostile, "to"),
            r#"; to = "x\"; amount = 1\u001b[2J""#
        );
        let long = format!("{{\"to\":\"{}\"}}", "é".repeat(1000));
        let shown = of(JSON, &long, "to");
        assert!(
            shown.chars().count() < 80 && shown.ends_with("…\""),
            "{shown}"
        );
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(of(JSON, &deep, "to"), "; to is not there");
    }
}
