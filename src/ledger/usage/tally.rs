//! What a batch of lines adds to the index. Pure: lines go in, sums come out.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::ledger::format::event;
use crate::ledger::format::record_ref::RecordRef;
use crate::ledger::format::text::Text;
use crate::ledger::format::timestamp::Timestamp;

/// Uses of one credential that are kept one by one; older ones only count.
pub(super) const RECENT: usize = 100;

/// An action's use of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) owner: String,
    pub(super) slug: String,
    pub(super) action: String,
}

/// How often and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) uses: i64,
    pub(super) denied: i64,
    pub(super) first_seen: i64,
    pub(super) last_seen: i64,
    pub(super) last_used: Option<i64>,
    /// Uses by version.
    pub(super) versions: Vec<(u32, i64)>,
    /// Requests by outcome.
    pub(super) outcomes: Vec<(Outcome, i64)>,
}

/// How a request ended: a code, a status, or another word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Status(u16),
    Word(String),
}

impl Outcome {
    /// As the index has it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Word(word) => word.clone(),
        }
    }
}

/// Counts one more of these. There are few, so that looking at each beats hashing.
fn count<T: PartialEq>(counted: &mut Vec<(T, i64)>, what: T) {
    match counted.iter_mut().find(|(known, _)| *known == what) {
        Some((_, times)) => *times += 1,
        None => counted.push((what, 1)),
    }
}

/// A request of this batch.
#[derive(Debug)]
struct Request {
    /// Places in `counts`, each once: the first, and the others.
    first: usize,
    others: Vec<usize>,
    /// Unless it has none yet.
    outcome: Option<Outcome>,
}

impl Request {
    fn places(&self) -> impl Iterator<Item = usize> {
        [self.first].into_iter().chain(self.others.iter().copied())
    }
}

/// The sums over a batch.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) lines: usize,
    pub(super) counts: Vec<(Key, Counts)>,
    /// Places in `counts`, by owner, slug and action.
    places: HashMap<String, HashMap<String, HashMap<String, usize>>>,
    requests: HashMap<String, Request>,
    /// Requests of earlier batches that have not ended.
    earlier: HashSet<String>,
    /// Those of them that have ended now, with their outcomes.
    pub(super) finished: Vec<(String, Outcome)>,
    /// The lines of the last uses, by owner and slug.
    recent: HashMap<String, HashMap<String, VecDeque<Vec<u8>>>>,
}

/// The value of a key, made where it is missing. The key is copied only then.
fn entry<'m, T: Default>(map: &'m mut HashMap<String, T>, key: &str) -> &'m mut T {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), T::default());
    }
    map.get_mut(key).expect("it was put there")
}

/// Whose credential a line is about. A refusal has no owner: it counts for whoever asked.
fn owner<'v>(view: &'v RecordRef<'_>) -> Option<&'v str> {
    view.owner.as_deref().or(view.principal.as_deref())
}

impl Tally {
    /// Nothing yet, behind batches that these requests have not ended in.
    pub(super) fn after(earlier: HashSet<String>) -> Self {
        Self {
            earlier,
            ..Self::default()
        }
    }

    /// Takes in a line. One that is no record counts as read; saying so is the verifier's business.
    pub(super) fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        let Ok(view) = RecordRef::parse(line) else {
            return;
        };
        match &*view.event {
            event::USE => self.used(line, &view),
            event::DENIED => self.denied(&view),
            event::RESULT | event::RECOVERED => self.ended(&view),
            _ => {}
        }
    }

    /// The action's place in `counts`, and when.
    fn place(&mut self, view: &RecordRef<'_>) -> Option<(usize, i64)> {
        let (owner, slug) = (owner(view)?, view.slug.as_deref()?);
        let action = view.action.as_deref().unwrap_or_default();
        let time = view.time.parse::<Timestamp>().ok()?.unix_micros();
        let actions = entry(entry(&mut self.places, owner), slug);
        let at = match actions.get(action) {
            Some(&at) => at,
            None => {
                let key = Key {
                    owner: owner.to_owned(),
                    slug: slug.to_owned(),
                    action: action.to_owned(),
                };
                let counts = Counts {
                    first_seen: time,
                    last_seen: time,
                    ..Counts::default()
                };
                self.counts.push((key, counts));
                actions.insert(action.to_owned(), self.counts.len() - 1);
                self.counts.len() - 1
            }
        };
        let counts = &mut self.counts[at].1;
        counts.first_seen = counts.first_seen.min(time);
        counts.last_seen = counts.last_seen.max(time);
        Some((at, time))
    }

    fn used(&mut self, line: &[u8], view: &RecordRef<'_>) {
        let Some((at, time)) = self.place(view) else {
            return;
        };
        let (key, counts) = &mut self.counts[at];
        counts.uses += 1;
        counts.last_used = counts.last_used.max(Some(time));
        if let Some(version) = view.version {
            count(&mut counts.versions, version);
        }
        let recent = entry(entry(&mut self.recent, &key.owner), &key.slug);
        // What goes makes room for what comes.
        let full = recent.len() == RECENT;
        let mut kept = full
            .then(|| recent.pop_front())
            .flatten()
            .unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(line);
        recent.push_back(kept);
        if let Some(request) = view.request.as_deref() {
            self.asked(request, at);
        }
    }

    fn asked(&mut self, request: &str, at: usize) {
        match self.requests.get_mut(request) {
            Some(known) if known.places().any(|place| place == at) => {}
            Some(known) => known.others.push(at),
            None => {
                let new = Request {
                    first: at,
                    others: Vec::new(),
                    outcome: None,
                };
                self.requests.insert(request.to_owned(), new);
            }
        }
    }

    fn denied(&mut self, view: &RecordRef<'_>) {
        if let Some((at, _)) = self.place(view) {
            self.counts[at].1.denied += 1;
        }
    }

    /// Two fields of one credential are two lines and one request, which ends once.
    fn ended(&mut self, view: &RecordRef<'_>) {
        let Some(request) = view.request.as_deref() else {
            return;
        };
        let word =
            |text: &Option<Text<'_>>| Outcome::Word(text.as_deref().unwrap_or_default().to_owned());
        let outcome = match (&view.code, view.status) {
            (None, Some(status)) => Outcome::Status(status),
            (None, None) => word(&view.outcome),
            (code, _) => word(code),
        };
        // A body that streams may have been using credentials since an earlier batch.
        if self.earlier.contains(request) {
            self.finished.push((request.to_owned(), outcome.clone()));
        }
        if let Some(known) = self.requests.get_mut(request)
            && known.outcome.is_none()
        {
            for at in known.places() {
                count(&mut self.counts[at].1.outcomes, outcome.clone());
            }
            known.outcome = Some(outcome);
        }
    }

    /// Requests that have not ended, with the places of their uses in `counts`.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = usize>)> {
        let open = self
            .requests
            .iter()
            .filter(|(_, request)| request.outcome.is_none());
        open.map(|(id, request)| (id.as_str(), request.places()))
    }

    /// The lines of the last uses, by owner and slug.
    pub(super) fn recent(&self) -> impl Iterator<Item = (&str, &str, &VecDeque<Vec<u8>>)> {
        let by_owner = self.recent.iter();
        by_owner.flat_map(|(owner, by_slug)| {
            let by_slug = by_slug.iter();
            by_slug.map(move |(slug, lines)| (owner.as_str(), slug.as_str(), lines))
        })
    }

    /// Whether the request used this credential, for this action, in this batch.
    pub(super) fn has_used(&self, request: &str, key: &Key) -> bool {
        let known = self.requests.get(request);
        known.is_some_and(|known| known.places().any(|at| self.counts[at].0 == *key))
    }

    /// How a request of this batch ended.
    pub(super) fn outcome(&self, request: &str) -> Option<&Outcome> {
        self.requests.get(request)?.outcome.as_ref()
    }
}
