//! What a batch of lines adds to the index. Pure: lines go in, sums come out.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::ledger::record::{Timestamp, event};
use crate::ledger::view::{Text, View};

/// Uses of one credential that are kept one by one; older ones only count.
pub(super) const RECENT: usize = 100;

/// An action's use of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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
}

/// One use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recent {
    pub(super) seq: i64,
    pub(super) time: i64,
    pub(super) request: Option<String>,
    pub(super) field: Option<String>,
    pub(super) version: Option<u32>,
    pub(super) principal: Option<String>,
    pub(super) client: Option<String>,
    pub(super) action: Option<String>,
    pub(super) run: Option<String>,
    pub(super) method: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) path: Option<String>,
    pub(super) outcome: Option<String>,
}

/// The sums over a batch.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) lines: usize,
    keys: HashMap<Key, usize>,
    pub(super) counts: Vec<(Key, Counts)>,
    /// By place in `counts` and version.
    pub(super) versions: HashMap<(usize, u32), i64>,
    /// By place in `counts` and outcome, in requests.
    pub(super) outcomes: HashMap<(usize, String), i64>,
    /// Requests that have no result yet, with their places in `counts`.
    pub(super) unfinished: HashMap<String, HashSet<usize>>,
    /// Outcomes of requests whose uses stand in earlier batches.
    pub(super) finished: Vec<(String, String)>,
    /// Outcomes of requests of this batch.
    results: HashMap<String, String>,
    pub(super) recent: HashMap<(String, String), VecDeque<Recent>>,
}

fn owned(text: &Option<Text<'_>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

impl Tally {
    /// Takes in a line. One that is no record counts as read; saying so is the verifier's business.
    pub(super) fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        let Ok(view) = View::parse(line) else {
            return;
        };
        match &*view.event {
            event::USE => self.used(&view),
            event::DENIED => self.denied(&view),
            event::RESULT | event::RECOVERED => self.ended(&view),
            _ => {}
        }
    }

    /// The action's place in `counts`. A refusal has no owner: it counts for whoever asked.
    fn place(&mut self, view: &View<'_>) -> Option<(usize, i64)> {
        let owner = owned(&view.owner).or_else(|| owned(&view.principal))?;
        let key = Key {
            owner,
            slug: owned(&view.slug)?,
            action: owned(&view.action).unwrap_or_default(),
        };
        let time = view.time.parse::<Timestamp>().ok()?.unix_micros();
        let at = match self.keys.get(&key) {
            Some(&at) => at,
            None => {
                let counts = Counts {
                    first_seen: time,
                    last_seen: time,
                    ..Counts::default()
                };
                self.counts.push((key.clone(), counts));
                self.keys.insert(key, self.counts.len() - 1);
                self.counts.len() - 1
            }
        };
        let counts = &mut self.counts[at].1;
        counts.first_seen = counts.first_seen.min(time);
        counts.last_seen = counts.last_seen.max(time);
        Some((at, time))
    }

    fn used(&mut self, view: &View<'_>) {
        let Some((at, time)) = self.place(view) else {
            return;
        };
        let (key, counts) = &mut self.counts[at];
        counts.uses += 1;
        counts.last_used = counts.last_used.max(Some(time));
        if let Some(version) = view.version {
            *self.versions.entry((at, version)).or_default() += 1;
        }
        if let Some(request) = owned(&view.request) {
            self.unfinished.entry(request).or_default().insert(at);
        }
        let place = (key.owner.clone(), key.slug.clone());
        let recent = self.recent.entry(place).or_default();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(Recent {
            seq: i64::try_from(view.seq).unwrap_or(i64::MAX),
            time,
            request: owned(&view.request),
            field: owned(&view.field),
            version: view.version,
            principal: owned(&view.principal),
            client: owned(&view.client),
            action: owned(&view.action),
            run: owned(&view.run),
            method: owned(&view.method),
            destination: owned(&view.destination),
            path: owned(&view.path),
            outcome: None,
        });
    }

    fn denied(&mut self, view: &View<'_>) {
        if let Some((at, _)) = self.place(view) {
            self.counts[at].1.denied += 1;
        }
    }

    /// Two fields of one credential are two lines and one request, which ends once.
    fn ended(&mut self, view: &View<'_>) {
        let Some(request) = owned(&view.request) else {
            return;
        };
        let outcome = match (&view.code, view.status, &view.outcome) {
            (Some(code), _, _) => code.to_string(),
            (_, Some(status), _) => status.to_string(),
            (_, _, outcome) => outcome.as_deref().unwrap_or_default().to_owned(),
        };
        match self.unfinished.remove(&request) {
            Some(places) => {
                for at in places {
                    *self.outcomes.entry((at, outcome.clone())).or_default() += 1;
                }
                self.results.insert(request.clone(), outcome.clone());
                // A body that streams may have been using credentials since an earlier batch.
                self.finished.push((request, outcome));
            }
            None => self.finished.push((request, outcome)),
        }
    }

    /// Puts the outcomes of this batch to its uses.
    pub(super) fn settle(&mut self) {
        for recent in self.recent.values_mut().flatten() {
            let result = recent.request.as_ref().and_then(|id| self.results.get(id));
            recent.outcome = result.cloned();
        }
    }
}
