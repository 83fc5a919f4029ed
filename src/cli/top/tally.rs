//! Counts uses within a time, by what they are.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use crate::ledger::{RecordRef, Timestamp, event};

/// Most uses within the time that are counted; the oldest are forgotten first.
const MOST: usize = 1_000_000;
/// Most requests whose result is waited for.
const OPEN: usize = 100_000;

/// Action, credential and destination.
type Key = [String; 3];

/// Counts what is not older than its window.
pub(super) struct Tally {
    /// In microseconds.
    window: i64,
    /// When each was, what it is, and whether it was refused; oldest first.
    seen: VecDeque<(i64, Rc<Key>, bool)>,
    known: BTreeMap<Rc<Key>, Count>,
    /// What requests use that have no result yet.
    open: HashMap<String, Rc<Key>>,
}

#[derive(Default)]
struct Count {
    uses: u64,
    refused: u64,
    last: String,
}

/// What is counted of an action, a credential and a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub uses: u64,
    pub refused: u64,
    pub action: String,
    pub slug: String,
    pub destination: String,
    /// How the last one ended that is over.
    pub last: String,
}

impl Tally {
    /// Over this time, in microseconds.
    pub(super) fn over(window: i64) -> Self {
        Self {
            window,
            seen: VecDeque::new(),
            known: BTreeMap::new(),
            open: HashMap::new(),
        }
    }

    /// Takes in a line.
    pub(super) fn see(&mut self, record: &RecordRef<'_>) {
        let is_use = *record.event == *event::USE;
        if *record.event == *event::RESULT {
            self.end(record);
        } else if is_use || *record.event == *event::DENIED {
            self.count(record, !is_use);
        }
    }

    fn count(&mut self, record: &RecordRef<'_>, is_refused: bool) {
        let Ok(time) = record.time.parse::<Timestamp>() else {
            return;
        };
        let text = |text: &Option<crate::ledger::Text<'_>>| {
            text.as_deref()
                .map(str::to_owned)
                .unwrap_or_else(|| "-".to_owned())
        };
        let key = [
            text(&record.action),
            text(&record.slug),
            text(&record.destination),
        ];
        let known = self
            .known
            .get_key_value(&key)
            .map(|(key, _)| Rc::clone(key));
        let key = known.unwrap_or_else(|| Rc::new(key));
        let count = self.known.entry(Rc::clone(&key)).or_default();
        if is_refused {
            count.refused += 1;
            count.last = text(&record.code);
        } else {
            count.uses += 1;
            if let Some(request) = &record.request
                && self.open.len() < OPEN
            {
                self.open.insert(request.to_string(), Rc::clone(&key));
            }
        }
        self.seen.push_back((time.unix_micros(), key, is_refused));
        if self.seen.len() > MOST {
            self.forget_oldest();
        }
    }

    /// Notes how a request ended.
    fn end(&mut self, record: &RecordRef<'_>) {
        let request = record.request.as_deref();
        let Some(key) = request.and_then(|request| self.open.remove(request)) else {
            return;
        };
        let Some(count) = self.known.get_mut(&key) else {
            return;
        };
        let what = match (&record.code, record.status) {
            (Some(code), _) => code.to_string(),
            (None, Some(status)) => status.to_string(),
            (None, None) => record.outcome.as_deref().unwrap_or("-").to_owned(),
        };
        count.last = match record.duration_ms {
            Some(time) => format!("{what} {time} ms"),
            None => what,
        };
    }

    fn forget_oldest(&mut self) {
        let Some((_, key, is_refused)) = self.seen.pop_front() else {
            return;
        };
        let Some(count) = self.known.get_mut(&key) else {
            return;
        };
        let number = if is_refused {
            &mut count.refused
        } else {
            &mut count.uses
        };
        *number -= 1;
        if count.uses + count.refused == 0 {
            self.known.remove(&key);
        }
    }

    /// What there is at this time, in microseconds since 1970: the most frequent first.
    pub(super) fn rows(&mut self, now: i64) -> Vec<Row> {
        let since = now.saturating_sub(self.window);
        while self.seen.front().is_some_and(|(time, ..)| *time < since) {
            self.forget_oldest();
        }
        let row = |(key, count): (&Rc<Key>, &Count)| {
            let [action, slug, destination] = (**key).clone();
            Row {
                uses: count.uses,
                refused: count.refused,
                action,
                slug,
                destination,
                last: count.last.clone(),
            }
        };
        let mut rows: Vec<Row> = self.known.iter().map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.uses + row.refused));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Entry;
    use crate::ledger::format::chain::Chain;

    /// Sees entries, a second after each other from the begin of 1970.
    fn seen(window: i64, entries: Vec<Entry<'static>>) -> Tally {
        let mut tally = Tally::over(window * 1_000_000);
        let mut chain = Chain::start();
        for (second, entry) in entries.into_iter().enumerate() {
            let mut line = Vec::new();
            let time = i64::try_from(second).unwrap() * 1_000_000;
            chain.append(
                Timestamp::from_unix_micros(time),
                &entry.encode(),
                &mut line,
            );
            tally.see(&RecordRef::parse(line.trim_ascii_end()).unwrap());
        }
        tally
    }

    fn entry(event: &'static str, request: &'static str, slug: &'static str) -> Entry<'static> {
        Entry {
            request: Some(request.into()),
            slug: Some(slug.into()),
            action: Some("report".into()),
            ..Entry::new(event)
        }
    }

    #[test]
    fn uses_are_counted_while_they_are_in_the_window() {
        let result = Entry {
            status: Some(201),
            duration_ms: Some(12),
            ..entry(event::RESULT, "a", "pat")
        };
        let refused = Entry {
            code: Some("credential_expired".into()),
            ..entry(event::DENIED, "d", "old")
        };
        let mut tally = seen(
            10,
            vec![
                entry(event::USE, "a", "pat"),
                result,
                entry(event::USE, "b", "pat"),
                refused,
            ],
        );
        let rows = tally.rows(10_000_000);
        let short = |row: &Row| (row.slug.clone(), row.uses, row.refused, row.last.clone());
        let expected = [
            ("pat".to_owned(), 2, 0, "201 12 ms".to_owned()),
            ("old".to_owned(), 0, 1, "credential_expired".to_owned()),
        ];
        assert_eq!(rows.iter().map(short).collect::<Vec<_>>(), expected);
        assert_eq!(
            (rows[0].action.as_str(), rows[0].destination.as_str()),
            ("report", "-")
        );
        let later: Vec<_> = tally.rows(12_500_000).iter().map(short).collect();
        assert_eq!(later, expected[1..]);
        assert!(tally.rows(99_000_000).is_empty());
    }
}
