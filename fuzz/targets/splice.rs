//! Values put into bodies: streamed like held, and what the receiver parses is what was meant.
//! Input: kind, cuts, values, body.

#![no_main]

use std::fmt;

use egret_fuzz::substituted::Values;
use egret_fuzz::substitution::body::BodyKind;
use egret_fuzz::{oracle, pieces};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};

const KINDS: [BodyKind; 8] = [
    BodyKind::Json,
    BodyKind::JsonLines,
    BodyKind::Form,
    BodyKind::Xml,
    BodyKind::Text,
    BodyKind::Wide,
    BodyKind::Opaque,
    BodyKind::Text,
];

fuzz_target!(|data: &[u8]| {
    let [kind, cuts, seed, body @ ..] = data else {
        return;
    };
    let kind = &KINDS[usize::from(kind.wrapping_sub(b'0')) % KINDS.len()];
    let mut values = Values::new(*seed);
    let held = values.held(kind, body);
    let streamed = values.streamed(kind, pieces(body, *cuts));
    assert_eq!(
        held.as_deref()
            .map(<[u8]>::escape_ascii)
            .map(|t| t.to_string()),
        streamed
            .as_deref()
            .map(<[u8]>::escape_ascii)
            .map(|t| t.to_string()),
    );
    let Some(out) = held else { return };
    let meant = |text: &str| oracle::replaced(text, &|name| values.text(name));
    match kind {
        BodyKind::Json => json(body, &out, &meant),
        BodyKind::Form => assert_eq!(pairs(&out), in_each(pairs(body), &meant)),
        BodyKind::Text => {
            if let Ok(text) = std::str::from_utf8(body) {
                assert_eq!(std::str::from_utf8(&out), Ok(meant(text).as_str()));
            }
        }
        BodyKind::Opaque => assert_eq!(out, body),
        _ => {}
    }
});

fn pairs(body: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(body).into_owned().collect()
}

fn in_each(pairs: Vec<(String, String)>, meant: &dyn Fn(&str) -> String) -> Vec<(String, String)> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| (meant(&name), meant(&value)))
        .collect()
}

/// Strings change as meant, and nothing else does.
fn json(body: &[u8], out: &[u8], meant: &dyn Fn(&str) -> String) {
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<Tree>(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).ok()
    };
    if let Some(before) = parse(body) {
        let after = parse(out).expect("it was JSON before");
        assert_eq!(after, before.with(meant));
    }
}

/// JSON that keeps the order of its members, and all of those that have one name.
#[derive(Debug, PartialEq)]
enum Tree {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    List(Vec<Tree>),
    Members(Vec<(String, Tree)>),
}

impl Tree {
    fn with(self, meant: &dyn Fn(&str) -> String) -> Self {
        match self {
            Self::String(text) => Self::String(meant(&text)),
            Self::List(list) => Self::List(list.into_iter().map(|t| t.with(meant)).collect()),
            Self::Members(members) => {
                let members = members.into_iter();
                Self::Members(members.map(|(n, t)| (meant(&n), t.with(meant))).collect())
            }
            other => other,
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = entries.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Members(members))
    }
}
