//! Which authority each client accepted last, and which one it refused.
//!
//! While one authority takes over from another, programs that were started before keep the roots they
//! were started with. This tells whose they are: who has not come since the other one signs, and who
//! does not accept it. It is kept by client, in memory, and written to a file now and then by a task:
//! a handshake waits for no disk, and a disk that is full fails none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::files;

/// Most clients that are kept: an issuer's JWTs can name any number. Who was away longest goes first.
const MOST: usize = 1024;
/// Longest name of a client, in bytes; no caller has a longer one.
const LONGEST_NAME: usize = 128;
/// Largest file that is read.
const LARGEST_FILE: u64 = 1024 * 1024;
/// How much later a client has to come again for that alone to be written, in seconds.
const NEWS_AFTER: i64 = 60 * 60;

/// An authority, and when a client was shown it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The SHA-256 of its certificate.
    pub authority: Arc<str>,
    /// When, in unix seconds.
    pub at: i64,
}

/// What is known of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Acceptance {
    /// The last handshake that it completed.
    pub accepted: Option<Sight>,
    /// The last one that it ended because of the certificate.
    pub refused: Option<Sight>,
}

/// By client.
pub type Acceptances = BTreeMap<Arc<str>, Acceptance>;

impl Acceptance {
    /// Whether the last handshake of the client that it completed was signed by another authority than
    /// `signing`.
    pub fn is_of_another(&self, signing: &str) -> bool {
        let accepted = self.accepted.as_ref();
        accepted.is_some_and(|sight| *sight.authority != *signing)
    }

    /// Whether the client refused `signing`, and has not accepted it since.
    pub fn refuses(&self, signing: &str) -> bool {
        let of_signing = |sight: &&Sight| *sight.authority == *signing;
        let accepted = self.accepted.as_ref().filter(of_signing);
        let refused = self.refused.as_ref().filter(of_signing);
        refused.is_some_and(|refused| accepted.is_none_or(|sight| sight.at < refused.at))
    }

    /// When it was here last.
    fn seen(&self) -> i64 {
        let both = [&self.accepted, &self.refused].into_iter().flatten();
        both.map(|sight| sight.at).max().unwrap_or(i64::MIN)
    }

    /// The later of what is in either.
    fn merge(&mut self, other: Self) {
        let later = |one: &mut Option<Sight>, other: Option<Sight>| {
            let at = |sight: &Option<Sight>| sight.as_ref().map(|sight| sight.at);
            if at(one) < at(&other) {
                *one = other;
            }
        };
        later(&mut self.accepted, other.accepted);
        later(&mut self.refused, other.refused);
    }

    /// Whether so much has changed since `written` that it is written again.
    fn is_news_to(&self, written: &Self) -> bool {
        let differs = |now: &Option<Sight>, then: &Option<Sight>| match (now, then) {
            (Some(now), Some(then)) => {
                now.authority != then.authority || now.at - then.at >= NEWS_AFTER
            }
            (now, then) => now.is_some() != then.is_some(),
        };
        let order = |it: &Self| {
            let at = |sight: &Option<Sight>| sight.as_ref().map(|sight| sight.at);
            at(&it.accepted) < at(&it.refused)
        };
        differs(&self.accepted, &written.accepted)
            || differs(&self.refused, &written.refused)
            || order(self) != order(written)
    }
}

/// The clients that somebody has to do something about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Those who accepted another authority last than the one that signs.
    pub of_another: Vec<Arc<str>>,
    /// Those who refuse the one that signs.
    pub refusing: Vec<Arc<str>>,
}

impl Behind {
    /// Of these clients, while `signing` signs.
    pub fn of(all: &Acceptances, signing: &str) -> Self {
        let named = |is: &dyn Fn(&Acceptance) -> bool| {
            let those = all.iter().filter(|(_, acceptance)| is(acceptance));
            those.map(|(name, _)| Arc::clone(name)).collect()
        };
        Self {
            of_another: named(&|it| it.is_of_another(signing)),
            refusing: named(&|it| it.refuses(signing)),
        }
    }
}

/// What is known of all clients.
#[derive(Debug, Default)]
pub struct ClientAcceptance {
    clients: Mutex<BTreeMap<Arc<str>, Entry>>,
    has_news: AtomicBool,
}

#[derive(Debug, Default)]
struct Entry {
    now: Acceptance,
    written: Acceptance,
}

impl ClientAcceptance {
    /// The client completed a handshake that `authority` signed.
    pub fn accepted(&self, client: &Arc<str>, authority: &Arc<str>, at: i64) {
        self.note(client, |it| it.accepted = Some(sight(authority, at)));
    }

    /// The client ended a handshake because of the certificate that `authority` signed.
    pub fn refused(&self, client: &Arc<str>, authority: &Arc<str>, at: i64) {
        self.note(client, |it| it.refused = Some(sight(authority, at)));
    }

    fn note(&self, client: &Arc<str>, set: impl FnOnce(&mut Acceptance)) {
        if client.len() > LONGEST_NAME {
            return;
        }
        let mut clients = self.lock();
        let entry = entry(&mut clients, client);
        set(&mut entry.now);
        if entry.now.is_news_to(&entry.written) {
            self.has_news.store(true, Relaxed);
        }
    }

    /// All of it.
    pub fn all(&self) -> Acceptances {
        let clients = self.lock();
        let all = clients.iter();
        all.map(|(name, entry)| (Arc::clone(name), entry.now.clone()))
            .collect()
    }

    /// Adds what was written before, by this server or another one of its data directory.
    pub fn recall(&self, written: Acceptances) {
        let mut clients = self.lock();
        for (name, acceptance) in written {
            let entry = entry(&mut clients, &name);
            entry.now.merge(acceptance.clone());
            entry.written = acceptance;
        }
    }

    /// What is to be written, if that has changed, without clients of which `keep` says no.
    pub fn news(&self, keep: impl Fn(&str) -> bool) -> Option<Acceptances> {
        let mut clients = self.lock();
        let before = clients.len();
        clients.retain(|name, _| keep(name));
        let is_shorter = clients.len() < before;
        if !self.has_news.swap(false, Relaxed) && !is_shorter {
            return None;
        }
        let all = clients.iter_mut().map(|(name, entry)| {
            entry.written = entry.now.clone();
            (Arc::clone(name), entry.now.clone())
        });
        Some(all.collect())
    }

    /// What was to be written could not be.
    pub fn is_not_written(&self) {
        self.has_news.store(true, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Entry>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of a client. Where there are too many, who was away longest makes room.
fn entry<'a>(clients: &'a mut BTreeMap<Arc<str>, Entry>, name: &Arc<str>) -> &'a mut Entry {
    if !clients.contains_key(name) && clients.len() >= MOST {
        let longest = clients.iter().min_by_key(|(_, entry)| entry.now.seen());
        if let Some(longest) = longest.map(|(name, _)| Arc::clone(name)) {
            clients.remove(&longest);
        }
    }
    clients.entry(Arc::clone(name)).or_default()
}

fn sight(authority: &Arc<str>, at: i64) -> Sight {
    Sight {
        authority: Arc::clone(authority),
        at,
    }
}

/// Reads what a server has written in a data directory; nothing where there is no file.
///
/// # Errors
/// When it cannot be read, or something else is in it.
pub fn read(data_dir: &Path) -> io::Result<Acceptances> {
    let file = match File::open(data_dir.join(files::CA_CLIENTS)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Acceptances::new()),
        file => file?,
    };
    let mut text = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut text)?;
    let mut all: Acceptances = serde_json::from_slice(&text)?;
    all.retain(|name, _| name.len() <= LONGEST_NAME);
    Ok(all)
}

/// Writes it there.
///
/// # Errors
/// When it cannot be written. What was written before stays.
pub fn write(data_dir: &Path, all: &Acceptances) -> io::Result<()> {
    let mut text = serde_json::to_vec(all)?;
    text.push(b'\n');
    files::replace(&data_dir.join(files::CA_CLIENTS), &text, files::PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Arc<str> {
        text.into()
    }

    fn of(clients: &ClientAcceptance, name: &str) -> Acceptance {
        clients.all().remove(name).unwrap_or_default()
    }

    #[test]
    fn who_still_has_the_former_one_and_who_refuses_the_next() {
        let clients = ClientAcceptance::default();
        let (old, new) = (text("old"), text("new"));
        let (a, b, c) = (text("a"), text("b"), text("c"));
        for client in [&a, &b, &c] {
            clients.accepted(client, &old, 10);
        }
        clients.accepted(&b, &new, 20);
        clients.refused(&c, &new, 20);
        let behind = Behind::of(&clients.all(), "new");
        assert_eq!(behind.of_another, [text("a"), text("c")]);
        assert_eq!(behind.refusing, [text("c")]);
        let (a, b, c) = (of(&clients, "a"), of(&clients, "b"), of(&clients, "c"));
        assert_eq!((a.is_of_another("new"), a.refuses("new")), (true, false));
        assert_eq!((b.is_of_another("new"), b.refuses("new")), (false, false));
        assert_eq!((c.is_of_another("new"), c.refuses("new")), (true, true));
        // What was refused once says nothing of another one, or of what was accepted since.
        assert!(!c.refuses("old"));
        clients.accepted(&text("c"), &new, 21);
        assert!(!of(&clients, "c").refuses("new"));
        clients.refused(&text("c"), &new, 22);
        assert!(of(&clients, "c").refuses("new"));
    }

    #[test]
    fn only_news_is_written() {
        let clients = ClientAcceptance::default();
        let (name, old, new) = (text("a"), text("old"), text("new"));
        let all = |_: &str| true;
        assert!(clients.news(all).is_none());
        clients.accepted(&name, &old, 0);
        assert!(clients.news(all).is_some());
        for at in 1..NEWS_AFTER {
            clients.accepted(&name, &old, at);
        }
        assert!(clients.news(all).is_none(), "a handshake each second");
        clients.accepted(&name, &old, NEWS_AFTER);
        assert!(clients.news(all).is_some());
        clients.accepted(&name, &new, NEWS_AFTER);
        assert!(clients.news(all).is_some(), "another authority");
        clients.refused(&name, &new, NEWS_AFTER + 1);
        assert!(clients.news(all).is_some(), "a refusal");
        clients.accepted(&name, &new, NEWS_AFTER + 2);
        assert!(clients.news(all).is_some(), "accepted again");
        clients.is_not_written();
        assert!(clients.news(all).is_some(), "the disk was full");
        assert_eq!(clients.news(|_| false), Some(Acceptances::new()));
    }

    #[test]
    fn clients_and_names_are_bounded() {
        let clients = ClientAcceptance::default();
        let authority = text("x");
        clients.accepted(&"n".repeat(LONGEST_NAME + 1).into(), &authority, 0);
        assert!(clients.all().is_empty());
        for at in 0..=i64::try_from(MOST).unwrap() {
            clients.accepted(&format!("client-{at}").into(), &authority, at);
        }
        let all = clients.all();
        assert_eq!(all.len(), MOST);
        assert!(!all.contains_key("client-0") && all.contains_key("client-1"));
        let more = (0..2 * MOST).map(|n| (format!("o{n}").into(), Acceptance::default()));
        clients.recall(more.collect());
        assert_eq!(clients.all().len(), MOST);
    }

    #[test]
    fn what_is_written_is_read_back_and_the_later_of_both_holds() {
        let home = tempfile::tempdir().unwrap();
        assert!(read(home.path()).unwrap().is_empty());
        let before = ClientAcceptance::default();
        before.accepted(&text("a"), &text("old"), 10);
        before.refused(&text("a"), &text("new"), 20);
        let all = before.news(|_| true).unwrap();
        write(home.path(), &all).unwrap();
        assert_eq!(read(home.path()).unwrap(), all);
        let after = ClientAcceptance::default();
        after.accepted(&text("a"), &text("new"), 30);
        after.recall(all);
        assert!(!of(&after, "a").refuses("new"));
        assert_eq!(of(&after, "a").refused.unwrap().at, 20);
        for damaged in ["", "[]", "{\"a\":{\"accepted\":1}}"] {
            std::fs::write(home.path().join(files::CA_CLIENTS), damaged).unwrap();
            assert!(read(home.path()).is_err(), "{damaged}");
        }
    }
}
