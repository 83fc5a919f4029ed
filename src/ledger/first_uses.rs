//! Who has used which credential before, so that a `use` line can name what is new about it.
//!
//! It begins with what the usage index knows, and is kept in memory from then on. Until the index was
//! read nothing is called new.

use std::collections::HashSet;
use std::hash::{
    BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash as _, Hasher, RandomState,
};
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

/// The keyed hash of a credential, which was begun, and who or what has used it.
fn pair(credential: &DefaultHasher, aspect: Aspect, name: &str) -> u64 {
    let mut hasher = credential.clone();
    (aspect, name).hash(&mut hasher);
    hasher.finish()
}

/// Takes a hash for its own hash.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Nothing but numbers is put into the set.
        self.0 = bytes
            .iter()
            .fold(self.0, |all, byte| all << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Pairs of a credential and who or what has used it, as keyed hashes.
#[derive(Debug, Default)]
pub struct FirstUses {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// They are hashes already.
    pairs: HashSet<u64, BuildHasherDefault<AsItIs>>,
    state: State,
}

/// What a pair that is not known means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing: the index was not read yet, or has to be read again.
    #[default]
    Incomplete,
    /// It is new.
    Complete,
    /// Nothing: the index knows more than is remembered. Reading it again would not help.
    TooMany,
}

/// A credential: its owner and its slug.
pub type Credential<'a> = (&'a str, &'a str);

/// What is new about uses that are not on record yet. Unless it is kept, it is as if they had not been:
/// a use whose line could not be written is no use, and the next one is still the first.
#[derive(Debug)]
#[must_use]
pub struct News<'a> {
    uses: &'a FirstUses,
    pairs: Vec<u64>,
}

impl News<'_> {
    /// Keeps it, as the lines are on record.
    pub fn keep(mut self) {
        self.pairs.clear();
    }
}

impl Drop for News<'_> {
    fn drop(&mut self) {
        if self.pairs.is_empty() {
            return;
        }
        let mut known = self.uses.lock();
        for pair in &self.pairs {
            known.pairs.remove(pair);
        }
    }
}

impl FirstUses {
    /// Nothing new so far, to be told of one use after the other.
    pub fn news(&self) -> News<'_> {
        News {
            uses: self,
            pairs: Vec::new(),
        }
    }

    /// Whether the index has to be read, now or again.
    pub fn is_incomplete(&self) -> bool {
        self.lock().state == State::Incomplete
    }

    /// Takes over a part of what the index knows. Returns whether there is room for more.
    pub fn learn<'a>(
        &self,
        pairs: impl IntoIterator<Item = (Credential<'a>, Aspect, &'a str)>,
    ) -> bool {
        let mut known = self.lock();
        for (credential, aspect, name) in pairs {
            let credential = self.begin(credential);
            if known.pairs.len() >= MOST {
                known.state = State::TooMany;
                known.pairs = HashSet::default();
            }
            if known.state == State::TooMany {
                return false;
            }
            known.pairs.insert(pair(&credential, aspect, name));
        }
        true
    }

    /// The index was read to its end: what is not known is new from now on.
    pub fn learned(&self) {
        let mut known = self.lock();
        if known.state == State::Incomplete {
            known.state = State::Complete;
        }
    }

    /// The hash of each pair of this credential, as far as that is the same.
    fn begin(&self, credential: Credential<'_>) -> DefaultHasher {
        let mut hasher = self.hasher.build_hasher();
        credential.hash(&mut hasher);
        hasher
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News<'_> {
    /// Remembers a use, and returns what is new about it.
    pub fn note<'a>(
        &mut self,
        credential: Credential<'_>,
        aspects: impl IntoIterator<Item = (Aspect, &'a str)>,
    ) -> Vec<Aspect> {
        let credential = self.uses.begin(credential);
        let mut known = self.uses.lock();
        let mut new = Vec::new();
        for (aspect, name) in aspects {
            if known.state == State::TooMany {
                break;
            }
            let pair = pair(&credential, aspect, name);
            if !known.pairs.insert(pair) {
                continue;
            }
            self.pairs.push(pair);
            if known.state == State::Complete && !new.contains(&aspect) {
                new.push(aspect);
            }
        }
        if known.pairs.len() > MOST {
            *known = Known::default();
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAT: Credential<'_> = ("alice", "pat");

    fn use_of<'a>(action: &'a str, place: &'a str) -> [(Aspect, &'a str); 2] {
        [(Aspect::Action, action), (Aspect::Location, place)]
    }

    /// What is new about a use that is on record then.
    fn noted<'a>(
        uses: &FirstUses,
        credential: Credential<'_>,
        aspects: impl IntoIterator<Item = (Aspect, &'a str)>,
    ) -> Vec<Aspect> {
        let mut news = uses.news();
        let new = news.note(credential, aspects);
        news.keep();
        new
    }

    #[test]
    fn what_was_never_there_is_new_once() {
        let uses = FirstUses::default();
        assert!(uses.is_incomplete());
        assert_eq!(noted(&uses, PAT, use_of("early", "header")), []);
        assert!(uses.learn([(PAT, Aspect::Action, "report")]));
        assert!(uses.is_incomplete(), "there may be more");
        uses.learned();
        assert!(!uses.is_incomplete());
        assert_eq!(noted(&uses, PAT, use_of("report", "header")), []);
        assert_eq!(noted(&uses, PAT, use_of("early", "header")), []);
        assert_eq!(
            noted(&uses, PAT, use_of("report", "query")),
            [Aspect::Location]
        );
        assert_eq!(noted(&uses, PAT, use_of("report", "query")), []);
        // Another owner's credential of the same slug is another one.
        let both = [Aspect::Action, Aspect::Location];
        assert_eq!(
            noted(&uses, ("bob", "pat"), use_of("report", "query")),
            both
        );
    }

    #[test]
    fn what_was_not_recorded_is_new_again() {
        let uses = FirstUses::default();
        uses.learned();
        let action = |name| [(Aspect::Action, name)];
        noted(&uses, PAT, action("known"));
        let mut news = uses.news();
        assert_eq!(news.note(PAT, action("report")), [Aspect::Action]);
        assert_eq!(
            news.note(PAT, action("report")),
            [],
            "two lines of one request"
        );
        assert_eq!(news.note(PAT, action("known")), []);
        drop(news);
        assert_eq!(noted(&uses, PAT, action("known")), []);
        assert_eq!(noted(&uses, PAT, action("report")), [Aspect::Action]);
        assert_eq!(noted(&uses, PAT, action("report")), []);
    }

    #[test]
    fn an_aspect_is_named_once_however_many_places_are_new() {
        let uses = FirstUses::default();
        uses.learned();
        let places = [(Aspect::Location, "query"), (Aspect::Location, "body")];
        assert_eq!(noted(&uses, PAT, places), [Aspect::Location]);
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
        uses.learned();
        for number in 0..=MOST {
            noted(&uses, PAT, [(Aspect::Action, number.to_string().as_str())]);
        }
        assert!(uses.is_incomplete() && uses.lock().pairs.is_empty());
        // An index that knows more is not read again and again.
        let names: Vec<_> = (0..=MOST).map(|number| number.to_string()).collect();
        let pairs = names
            .iter()
            .map(|name| (PAT, Aspect::Action, name.as_str()));
        assert!(!uses.learn(pairs));
        uses.learned();
        assert!(!uses.is_incomplete() && uses.lock().pairs.is_empty());
        assert_eq!(noted(&uses, PAT, use_of("report", "header")), []);
    }
}
