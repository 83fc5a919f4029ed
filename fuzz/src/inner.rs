//! What a text means once values are put in, also where it is JSON, or holds JSON in strings.

use std::collections::BTreeSet;

use crate::oracle::{Found, scan};
use crate::substitution::encoding::Encoding;
use crate::tree::Tree;

/// Compares texts before and after.
pub struct Meant<'a> {
    value: &'a dyn Fn(&str) -> String,
    /// Every escape in the body is spelled as programs spell it.
    is_usual: bool,
}

/// The backslash, the letter and the digits of `\u003c`, themselves escaped: no program does that.
const ODD: [&str; 7] = ["u005c", "u0075", "u0030", "u0033", "%75", "%30", "%33"];

/// How many levels of JSON a value is escaped for at most, the one of the body's own included.
const DEEPEST: usize = 2;

impl<'a> Meant<'a> {
    /// For a body, with the value of each name.
    pub fn new(value: &'a dyn Fn(&str) -> String, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body).to_lowercase();
        let spelled = ODD.iter().any(|odd| body.contains(odd));
        Self {
            value,
            is_usual: !spelled,
        }
    }

    /// `after` is `before` with a value in place of each placeholder, written at some depth; and if
    /// `before` is JSON, `after` is, and every string in it is what was meant.
    pub fn check(&self, before: &str, after: &str) {
        match parse(before).filter(|tree| !matches!(tree, Tree::String(_))) {
            Some(_) => self.check_at(before, after, 0),
            // What is in quotation marks need be no JSON.
            None => self.assert_meant(before, after, 0),
        }
    }

    /// The same of a text that was said to be JSON.
    pub fn check_json(&self, before: &str, after: &str) {
        if let Some(before) = parse(before) {
            let after = parse(after).expect("it was JSON before");
            self.check_tree(&before, &after, 0);
        }
    }

    fn check_at(&self, before: &str, after: &str, level: usize) {
        if let Some(before) = parse(before).filter(Tree::has_strings) {
            let after = parse(after);
            let after = after.unwrap_or_else(|| panic!("it was JSON before: {before:?}"));
            match (&before, &after) {
                // One string in another may be a quotation, and what is in it is not read on.
                (Tree::String(before), Tree::String(after)) => {
                    self.assert_meant(before, after, level + 1);
                }
                _ if level < DEEPEST => self.check_tree(&before, &after, level + 1),
                _ => {}
            }
            return;
        }
        self.assert_meant(before, after, level);
    }

    fn assert_meant(&self, before: &str, after: &str, level: usize) {
        assert!(
            self.is_meant(before.as_bytes(), after.as_bytes(), level),
            "at level {level}: {before:?} became {after:?}"
        );
    }

    fn check_tree(&self, before: &Tree, after: &Tree, level: usize) {
        match (before, after) {
            (Tree::String(before), Tree::String(after)) => self.check_at(before, after, level),
            (Tree::List(before), Tree::List(after)) => {
                assert_eq!(before.len(), after.len());
                for (before, after) in before.iter().zip(after) {
                    self.check_tree(before, after, level);
                }
            }
            (Tree::Members(before), Tree::Members(after)) => {
                assert_eq!(before.len(), after.len());
                for (before, after) in before.iter().zip(after) {
                    self.check_at(&before.0, &after.0, level);
                    self.check_tree(&before.1, &after.1, level);
                }
            }
            _ => assert_eq!(before, after),
        }
    }

    /// Whether `after` can be `before` with the placeholders replaced.
    fn is_meant(&self, before: &[u8], after: &[u8], level: usize) -> bool {
        // Where in `after` the text before a placeholder can end.
        let mut ends = BTreeSet::from([0]);
        let mut from = 0;
        for found in scan(Encoding::Raw, before) {
            let between = &before[from..found.start];
            let options = self.options(&before[found.start..found.end], &found, level);
            let starts = ends
                .iter()
                .filter(|&&end| after[end..].starts_with(between));
            let starts: Vec<usize> = starts.map(|end| end + between.len()).collect();
            let reached = starts.iter().flat_map(|&start| {
                let fits = options
                    .iter()
                    .filter(move |text| after[start..].starts_with(text));
                fits.map(move |text| start + text.len())
            });
            ends = reached.collect();
            from = found.end;
        }
        ends.iter().any(|&end| after[end..] == before[from..])
    }

    /// What may stand in place of a placeholder: the value at some depth.
    fn options(&self, spelled: &[u8], found: &Found, level: usize) -> Vec<Vec<u8>> {
        let mut text = found.meant(self.value);
        let mut options = Vec::new();
        for _ in 0..=DEEPEST {
            options.push(text.clone().into_bytes());
            let quoted = serde_json::to_string(&text).expect("text");
            text = quoted[1..quoted.len() - 1].to_owned();
        }
        // Escapes of JSON are data where no JSON is.
        if found.depth > 0 || !self.is_usual && level > 0 {
            options.push(spelled.to_vec());
        }
        options
    }
}

impl Tree {
    /// Whether it is more than a number or a word.
    fn has_strings(&self) -> bool {
        matches!(self, Tree::String(_) | Tree::List(_) | Tree::Members(_))
    }
}

fn parse(text: &str) -> Option<Tree> {
    serde_json::from_str(text).ok()
}
