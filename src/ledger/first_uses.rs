//! Who has used which credential before, so that a `use` line can name what is new about it.
//!
//! It begins with what the usage index knows, and is kept in memory from then on. Until the index was
//! read nothing is called new.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What can be new about a use, and the name that it has in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aspect {
    /// The action had never used the credential.
    Action,
    /// The client had not.
    Client,
    /// It had never gone to this destination.
    Destination,
    /// It had never stood in this place.
    Location,
}

impl Aspect {
    /// Each of them.
    pub const ALL: [Self; 4] = [
        Self::Action,
        Self::Client,
        Self::Destination,
        Self::Location,
    ];

    /// The name used in lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Client => "client",
            Self::Destination => "destination",
            Self::Location => "location",
        }
    }
}

/// The place of a location, without the names of query parameters and of what is in a body: those are
/// the client's to choose.
pub fn place(location: &str) -> &str {
    if location.starts_with("header:") {
        return location;
    }
    location
        .split_once(':')
        .map_or(location, |(place, _)| place)
}

/// Most pairs that are remembered, 16 MiB. With more, all are forgotten, and nothing is called new until
/// the index was read again.
const MOST: usize = 1 << 20;

/// Pairs of a credential and who or what has used it, as keyed hashes.
#[derive(Debug, Default)]
pub struct FirstUses {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    pairs: HashSet<u64>,
    /// The index was read: what is not there is new.
    is_complete: bool,
}

/// A credential: its owner and its slug.
pub type Credential<'a> = (&'a str, &'a str);

impl FirstUses {
    /// Remembers a use, and returns what is new about it.
    pub fn note<'a>(
        &self,
        credential: Credential<'_>,
        aspects: impl IntoIterator<Item = (Aspect, &'a str)>,
    ) -> Vec<Aspect> {
        let mut known = self.lock();
        let mut new = Vec::new();
        for (aspect, name) in aspects {
            let pair = self.hasher.hash_one((credential, aspect, name));
            if known.pairs.insert(pair) && known.is_complete && !new.contains(&aspect) {
                new.push(aspect);
            }
        }
        if known.pairs.len() > MOST {
            *known = Known::default();
        }
        new
    }

    /// Whether the index has to be read, now or again.
    pub fn is_incomplete(&self) -> bool {
        !self.lock().is_complete
    }

    /// Takes over what the index knows.
    pub fn learn<'a>(&self, pairs: impl IntoIterator<Item = (Credential<'a>, Aspect, &'a str)>) {
        let mut known = self.lock();
        let room = MOST.saturating_sub(known.pairs.len());
        let pairs = pairs.into_iter().take(room);
        let hashes = pairs
            .map(|(credential, aspect, name)| self.hasher.hash_one((credential, aspect, name)));
        known.pairs.extend(hashes);
        known.is_complete = true;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAT: Credential<'_> = ("alice", "pat");

    fn use_of<'a>(action: &'a str, place: &'a str) -> [(Aspect, &'a str); 2] {
        [(Aspect::Action, action), (Aspect::Location, place)]
    }

    #[test]
    fn what_was_never_there_is_new_once() {
        let uses = FirstUses::default();
        assert!(uses.is_incomplete());
        assert_eq!(uses.note(PAT, use_of("early", "header")), []);
        uses.learn([(PAT, Aspect::Action, "report")]);
        assert!(!uses.is_incomplete());
        assert_eq!(uses.note(PAT, use_of("report", "header")), []);
        assert_eq!(uses.note(PAT, use_of("early", "header")), []);
        assert_eq!(
            uses.note(PAT, use_of("report", "query")),
            [Aspect::Location]
        );
        assert_eq!(uses.note(PAT, use_of("report", "query")), []);
        // Another owner's credential of the same slug is another one.
        let both = [Aspect::Action, Aspect::Location];
        assert_eq!(uses.note(("bob", "pat"), use_of("report", "query")), both);
    }

    #[test]
    fn an_aspect_is_named_once_however_many_places_are_new() {
        let uses = FirstUses::default();
        uses.learn([]);
        let places = [(Aspect::Location, "query"), (Aspect::Location, "body")];
        assert_eq!(uses.note(PAT, places), [Aspect::Location]);
    }

    #[test]
    fn a_place_has_no_name_that_the_client_chose() {
        for (location, expected) in [
            ("header:x-api-key", "header:x-api-key"),
            ("query:a:b", "query"),
            ("body:/auth/token", "body"),
            ("path", "path"),
        ] {
            assert_eq!(place(location), expected);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let uses = FirstUses::default();
        uses.learn([]);
        for number in 0..=MOST {
            uses.note(PAT, [(Aspect::Action, number.to_string().as_str())]);
        }
        assert!(uses.is_incomplete() && uses.lock().pairs.is_empty());
    }
}
