//! In which lines of a file its rules begin, so that a remark about one can be followed.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::state::Desired;
use crate::vault::egress::Subject;

/// Offsets of rules by whom they are about.
type Offsets = BTreeMap<String, Vec<usize>>;

impl Desired {
    /// Notes the lines of `text`, of which this was read.
    pub(super) fn note_lines(&mut self, text: &str) {
        if self.rules.is_empty() {
            return;
        }
        let offsets = if text.trim_start().starts_with('{') {
            in_json(text)
        } else {
            in_toml(text)
        };
        let offsets = offsets.unwrap_or_default();
        let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at: usize| 1 + starts.partition_point(|start| *start < at);
        for (name, places) in offsets {
            let subject = name.parse::<Subject>().ok();
            let rules = subject.and_then(|subject| self.rules.get_mut(&subject));
            for (rule, at) in rules.into_iter().flatten().zip(places) {
                rule.line = Some(line(at));
            }
        }
    }
}

fn in_toml(text: &str) -> Option<Offsets> {
    let document = DeTable::parse(text).ok()?;
    let DeValue::Table(rules) = document.get_ref().get("rules")?.get_ref() else {
        return None;
    };
    let rules = rules.iter().map(|(name, list)| {
        let list = list.get_ref().as_array();
        let list = list.into_iter().flat_map(|list| list.iter());
        let places = list.map(Spanned::span).map(|span| span.start);
        (name.get_ref().to_string(), places.collect())
    });
    Some(rules.collect())
}

/// Of two members of one name the last one counts, as when it is read.
fn in_json(text: &str) -> Option<Offsets> {
    let mut offsets = Offsets::new();
    let mut walk = Walk { text, at: 0 };
    walk.members(|walk, name| {
        if name != "rules" {
            return walk.skip();
        }
        offsets.clear();
        walk.members(|walk, subject| {
            let mut places = Vec::new();
            walk.items(|walk| {
                // White space before it was passed while looking for the end.
                places.push(walk.at);
                walk.skip()
            })?;
            offsets.insert(subject, places);
            Some(())
        })
    })?;
    Some(offsets)
}

/// A place in JSON that is known to be valid.
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl Walk<'_> {
    /// Passes white space, and `mark` if it follows.
    fn passes(&mut self, mark: char) -> bool {
        let rest = &self.text[self.at..];
        let rest = rest.trim_start();
        self.at = self.text.len() - rest.len();
        let is_there = rest.starts_with(mark);
        self.at += usize::from(is_there);
        is_there
    }

    fn value<T: DeserializeOwned>(&mut self) -> Option<T> {
        let rest = serde_json::Deserializer::from_str(&self.text[self.at..]);
        let mut values = rest.into_iter::<T>();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }

    fn skip(&mut self) -> Option<()> {
        self.value::<IgnoredAny>().map(|_| ())
    }

    /// Goes through an object: `each` passes the value of each member.
    fn members(&mut self, mut each: impl FnMut(&mut Self, String) -> Option<()>) -> Option<()> {
        self.between('{', '}', |walk| {
            let name = walk.value()?;
            walk.passes(':').then_some(())?;
            each(walk, name)
        })
    }

    /// Goes through an array: `each` passes the item.
    fn items(&mut self, each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.between('[', ']', each)
    }

    fn between(
        &mut self,
        open: char,
        close: char,
        mut each: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.passes(open).then_some(())?;
        while !self.passes(close) {
            each(self)?;
            // Between two of them, and not after the last one.
            self.passes(',');
        }
        Some(())
    }
}
