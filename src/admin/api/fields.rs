//! The members of a request's JSON object, read one by one.
//!
//! Whatever is wrong with a member is said beside its name, for all members at once. No message
//! quotes what was sent: a value may stand in any of them, by mistake. So nothing of a JSON parser
//! is ever shown, only where in the text it stopped.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::admin::problem::FieldProblem;

/// Deepest nesting of a body: an object of fields, or a list of texts, in an object.
const DEEPEST: usize = 4;

/// Why a body is no object of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnObject(pub String);

/// The members of an object that were not read yet.
pub struct Fields {
    members: BTreeMap<String, Value>,
    errors: Vec<FieldProblem>,
}

/// Something that a member can be.
pub trait Input: Sized {
    /// Reads it; `None` for a member that is missing.
    ///
    /// # Errors
    /// What is wrong, and with which of several texts.
    fn read(value: Option<Value>) -> Result<Self, Wrong>;
}

/// What is wrong with a member.
#[derive(Debug)]
pub struct Wrong {
    /// Where inside the member: `[2]`.
    at: String,
    message: String,
}

impl Wrong {
    /// The member as a whole is wrong.
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            at: String::new(),
            message: message.to_string(),
        }
    }

    /// The same, of an item of a list.
    pub fn in_item(self, at: usize) -> Self {
        Self {
            at: format!("[{at}]{}", self.at),
            ..self
        }
    }

    /// The same, of a member of a member.
    pub fn in_member(self, name: &str) -> Self {
        Self {
            at: format!(".{name}{}", self.at),
            ..self
        }
    }
}

impl Fields {
    /// Reads the text of a body.
    ///
    /// # Errors
    /// When it is not one JSON object.
    pub fn parse(text: &[u8]) -> Result<Self, NotAnObject> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let read = Strict(DEEPEST).deserialize(&mut json);
        let value = read.and_then(|value| json.end().map(|()| value));
        match value {
            Ok(Value::Object(members)) => Ok(Self::of(members)),
            Ok(_) => Err(NotAnObject("the body has to be a JSON object".to_owned())),
            Err(error) if error.is_data() => Err(NotAnObject(format!(
                "line {}, column {}: a name stands twice in an object, or the body is nested too deep",
                error.line(),
                error.column()
            ))),
            Err(error) => Err(NotAnObject(format!(
                "line {}, column {}: this is not valid JSON",
                error.line(),
                error.column()
            ))),
        }
    }

    /// The members of an object.
    pub fn of(members: serde_json::Map<String, Value>) -> Self {
        Self {
            members: members.into_iter().collect(),
            errors: Vec::new(),
        }
    }

    /// Reads a member; `None` if something is wrong with it, which is then kept for the answer.
    pub fn take<T: Input>(&mut self, name: &str) -> Option<T> {
        let value = self.members.remove(name);
        match T::read(value) {
            Ok(read) => Some(read),
            Err(wrong) => {
                self.errors.push(FieldProblem {
                    field: format!("{name}{}", wrong.at).into(),
                    detail: wrong.message.into(),
                });
                None
            }
        }
    }

    /// Ends the reading: members that were not read are none of `known`.
    pub fn finish(mut self, known: &[&str]) -> Vec<FieldProblem> {
        for name in self.members.keys() {
            self.errors.push(unknown("member", name, known));
        }
        self.errors
    }
}

/// A member or a parameter that does not exist. Its name is repeated only where it is nearly one that
/// does: a value may stand in the place of a name.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> FieldProblem {
    let distance = |known: &&&str| strsim::levenshtein(known, name);
    let nearest = known.iter().min_by_key(distance);
    // In a short name, two letters are half of another one.
    let is_near = |known: &&&str| distance(known) <= (1 + known.len() / 4).min(3);
    match nearest.filter(is_near) {
        Some(nearest) => FieldProblem {
            field: (*nearest).to_owned().into(),
            detail: format!("a {what} is misspelt: it is called `{nearest}`").into(),
        },
        None if known.is_empty() => FieldProblem {
            field: "".into(),
            detail: format!("there are no {what}s here").into(),
        },
        None => FieldProblem {
            field: "".into(),
            detail: format!(
                "there is an unknown {what}; those known are {}",
                known.join(", ")
            )
            .into(),
        },
    }
}

/// JSON in which no name stands twice in an object, which `serde_json::Value` takes in silence: two
/// readers would see different things.
struct Strict(usize);

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.0.checked_sub(1);
        let inner = inner.ok_or_else(|| A::Error::custom("deep"))?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict(inner))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.0.checked_sub(1);
        let inner = inner.ok_or_else(|| A::Error::custom("deep"))?;
        let mut map = serde_json::Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Strict(inner))?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn broken(text: &str) -> String {
        match Fields::parse(text.as_bytes()) {
            Ok(_) => panic!("{text} was read"),
            Err(NotAnObject(message)) => message,
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_place() {
        assert_eq!(
            broken("{\"value\": hunter2}"),
            "line 1, column 11: this is not valid JSON"
        );
        for text in [
            "",
            "[\"hunter2\"]",
            "\"hunter2\"",
            "{\"hunter2\":1} hunter2",
            "{\"hunter2\":1,\"hunter2\":2}",
            "{\"a\":{\"hunter2\":1,\"hunter2\":2}}",
            "{\"a\":[[[[[\"hunter2\"]]]]]}",
        ] {
            assert!(!broken(text).contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn an_unknown_member_is_answered_with_the_nearest() {
        let fields = Fields::parse(br#"{"vlaue":1,"hunter2":2}"#).unwrap();
        let errors = fields.finish(&["value", "hosts"]);
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[1].field, "value");
        assert!(errors[0].detail.contains("value, hosts"));
        assert!(errors.iter().all(|error| !error.detail.contains("hunter2")));
    }

    proptest! {
        #[test]
        fn nothing_that_was_sent_is_said_again(text in "\\PC{0,200}") {
            let secret = format!("{{\"value\":\"CANARY{text}");
            if let Err(NotAnObject(message)) = Fields::parse(secret.as_bytes()) {
                prop_assert!(!message.contains("CANARY"));
            }
        }
    }
}
