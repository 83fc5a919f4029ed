//! What a batch of lines adds to the index. Pure: lines go in, sums come out.

use std::collections::{HashMap, HashSet, VecDeque};

pub(super) use super::hours::Outcome;
use super::hours::{Cell, Cells, Ends};
use crate::ledger::format::event;
use crate::ledger::format::record_ref::RecordRef;
use crate::ledger::format::text::Text;
use crate::ledger::format::timestamp::Timestamp;

/// Most uses and refusals of one credential that are kept one by one; older ones only count.
pub(super) const MOST_RECENT: usize = 10_000;

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

/// How a request ended, and after how many milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) duration_ms: Option<u64>,
}

/// Counts more of these. There are few, so that looking at each beats hashing.
fn count<T: PartialEq>(counted: &mut Vec<(T, i64)>, what: T, times: i64) {
    match counted.iter_mut().find(|(known, _)| *known == what) {
        Some((_, known)) => *known += times,
        None => counted.push((what, times)),
    }
}

/// A request of this batch.
#[derive(Debug, Default)]
struct Request {
    /// Its uses by place in `cells`.
    uses: Vec<(usize, i64)>,
    /// Unless it has not ended yet.
    end: Option<End>,
}

/// Uses of a request that has not ended.
#[derive(Debug)]
pub(super) struct OpenUses<'t> {
    pub(super) request: &'t str,
    pub(super) key: &'t Key,
    pub(super) cell: &'t Cell,
    pub(super) uses: i64,
}

/// What a client of a principal did.
#[derive(Debug, Default)]
pub(super) struct ClientCounts {
    pub(super) uses: i64,
    pub(super) refused: i64,
    pub(super) last_seen: i64,
    pub(super) last_action: String,
}

/// The sums over a batch.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) lines: usize,
    pub(super) counts: Vec<(Key, Counts)>,
    /// The same by hour and by what filters ask for.
    cells: Cells,
    /// By principal and client.
    clients: HashMap<String, HashMap<String, ClientCounts>>,
    /// Owner and slug of credentials that administrative lines name.
    pub(super) named: HashSet<(String, String)>,
    /// Since when upstreams refuse which version of a credential, by owner and slug; nothing for those
    /// that are taken again.
    pub(super) health: HashMap<(String, String), Option<(i64, u32)>>,
    /// Places in `counts`, by owner, slug and action.
    places: HashMap<String, HashMap<String, HashMap<String, usize>>>,
    requests: HashMap<String, Request>,
    /// Requests of earlier batches that have not ended.
    earlier: HashSet<String>,
    /// Those of them that have ended now, with their outcomes.
    pub(super) finished: Vec<(String, End)>,
    /// The lines of the last uses and refusals, by owner and slug.
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
    /// Nothing yet, after batches that these requests have not ended in.
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
            event::DENIED => self.denied(line, &view),
            event::RESULT | event::RECOVERED => self.ended(&view),
            event::REJECTED | event::ACCEPTED => self.health(&view),
            name if name.starts_with("credential.") => self.named(&view),
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
        let counts = &mut self.counts[at].1;
        counts.uses += 1;
        counts.last_used = counts.last_used.max(Some(time));
        if let Some(version) = view.version {
            count(&mut counts.versions, version, 1);
        }
        let place = self.cells.place(Cell::new(at, time, view));
        self.cells.list[place].1.open += 1;
        self.client(view, time).uses += 1;
        self.keep(line, at);
        if let Some(request) = view.request.as_deref() {
            count(&mut entry(&mut self.requests, request).uses, place, 1);
        }
    }

    fn client(&mut self, view: &RecordRef<'_>, time: i64) -> &mut ClientCounts {
        let text = |text: &'_ Option<Text<'_>>| text.as_deref().unwrap_or_default().to_owned();
        let of = entry(&mut self.clients, &text(&view.principal));
        let counts = entry(of, &text(&view.client));
        if time >= counts.last_seen {
            counts.last_seen = time;
            counts.last_action = text(&view.action);
        }
        counts
    }

    /// What clients did, by principal and client.
    pub(super) fn clients(&self) -> impl Iterator<Item = (&str, &str, &ClientCounts)> {
        let by_principal = self.clients.iter();
        by_principal.flat_map(|(principal, clients)| {
            let clients = clients.iter();
            clients.map(move |(client, counts)| (principal.as_str(), client.as_str(), counts))
        })
    }

    /// Keeps a line among the last ones of its credential.
    fn keep(&mut self, line: &[u8], at: usize) {
        let key = &self.counts[at].0;
        let recent = entry(entry(&mut self.recent, &key.owner), &key.slug);
        // What goes makes room for what comes.
        let full = recent.len() == MOST_RECENT;
        let mut kept = full
            .then(|| recent.pop_front())
            .flatten()
            .unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(line);
        recent.push_back(kept);
    }

    /// A credential exists, or did, though it may never have been used.
    fn named(&mut self, view: &RecordRef<'_>) {
        if let (Some(owner), Some(slug)) = (view.owner.as_deref(), view.slug.as_deref()) {
            self.named.insert((owner.to_owned(), slug.to_owned()));
        }
    }

    /// Upstreams do not take a credential any more, or take it again.
    fn health(&mut self, view: &RecordRef<'_>) {
        self.named(view);
        if let (Some(owner), Some(slug)) = (view.owner.as_deref(), view.slug.as_deref()) {
            let time = view.time.parse::<Timestamp>().ok();
            let since = time.map(Timestamp::unix_micros).zip(view.version);
            let rejected = since.filter(|_| view.event == event::REJECTED);
            let name = (owner.to_owned(), slug.to_owned());
            self.health.insert(name, rejected);
        }
    }

    fn denied(&mut self, line: &[u8], view: &RecordRef<'_>) {
        let Some((at, time)) = self.place(view) else {
            return;
        };
        self.counts[at].1.denied += 1;
        let place = self.cells.place(Cell::new(at, time, view));
        let code = Outcome::Word(view.code.as_deref().unwrap_or_default().to_owned());
        count(&mut self.cells.list[place].1.refused, code, 1);
        self.client(view, time).refused += 1;
        self.keep(line, at);
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
        let end = End {
            outcome,
            duration_ms: view.duration_ms,
        };
        // A body that streams may have been using credentials since an earlier batch.
        if self.earlier.contains(request) {
            self.finished.push((request.to_owned(), end.clone()));
        }
        if let Some(known) = self.requests.get_mut(request)
            && known.end.is_none()
        {
            let mut counted = Vec::new();
            for &(place, uses) in &known.uses {
                let (cell, ends) = &mut self.cells.list[place];
                ends.open -= uses;
                count(&mut ends.ended, end.outcome.clone(), uses);
                if !counted.contains(&cell.at) {
                    counted.push(cell.at);
                    let outcomes = &mut self.counts[cell.at].1.outcomes;
                    count(outcomes, end.outcome.clone(), 1);
                }
            }
            known.end = Some(end);
        }
    }

    /// What was counted by hour, each with whose and for which action.
    pub(super) fn hours(&self) -> impl Iterator<Item = (&Key, &Cell, &Ends)> {
        let cells = self.cells.list.iter();
        cells.map(|(cell, ends)| (&self.counts[cell.at].0, cell, ends))
    }

    /// The uses of requests that have not ended.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = OpenUses<'_>> {
        let open = self
            .requests
            .iter()
            .filter(|(_, request)| request.end.is_none());
        open.flat_map(move |(id, request)| {
            request.uses.iter().map(move |&(place, uses)| {
                let cell = &self.cells.list[place].0;
                OpenUses {
                    request: id,
                    key: &self.counts[cell.at].0,
                    cell,
                    uses,
                }
            })
        })
    }

    /// The lines of the last uses and refusals, by owner and slug.
    pub(super) fn recent(&self) -> impl Iterator<Item = (&str, &str, &VecDeque<Vec<u8>>)> {
        let by_owner = self.recent.iter();
        by_owner.flat_map(|(owner, by_slug)| {
            let by_slug = by_slug.iter();
            by_slug.map(move |(slug, lines)| (owner.as_str(), slug.as_str(), lines))
        })
    }

    /// Whether the request used this credential, for this action, in this batch.
    pub(super) fn has_used(&self, request: &str, key: &Key) -> bool {
        let Some(known) = self.requests.get(request) else {
            return false;
        };
        let mut cells = known
            .uses
            .iter()
            .map(|&(place, _)| &self.cells.list[place].0);
        cells.any(|cell| self.counts[cell.at].0 == *key)
    }

    /// How a request of this batch ended.
    pub(super) fn end(&self, request: &str) -> Option<&End> {
        self.requests.get(request)?.end.as_ref()
    }
}
