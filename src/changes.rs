//! Changes made by other processes: in force, and on record, before the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::error::{Code, Refusal};
use crate::ledger::{EncodedEntries, Entry, Ledger, LedgerUnavailable, Text, Timestamp, event};
use crate::vault::cache::Alarm;
use crate::vault::store::{AdminEvent, Waiting};
use crate::vault::{Store, StoreUnavailable, Vault};

/// How long a request waits for administrative events to be on record. The ledger has a deadline of
/// its own; this is for a store that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most administrative events moved into the ledger at once.
const BATCH: u32 = 256;

/// Administrative events could not be moved into the ledger. They stay where they are.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The outbox could not be read or cleared.
    #[error(transparent)]
    Store(#[from] StoreUnavailable),
    /// The ledger did not take them.
    #[error(transparent)]
    Ledger(#[from] LedgerUnavailable),
}

/// Keeps the proxy in step with the store.
#[derive(Clone)]
pub struct Changes(Arc<Progress>);

/// How far events have been moved into the ledger.
struct Progress {
    /// The vault's generation whose events are in the ledger.
    recorded: AtomicU64,
    /// Held while events are moved, so that no two requests move the same ones. Those in it are in the
    /// ledger, but the store could not remove them yet.
    moving: Mutex<Option<Waiting>>,
    /// A request has waited as long as it should for the events that are being moved.
    is_late: AtomicBool,
    /// Another process moves the events from now on.
    has_left: AtomicBool,
}

impl Changes {
    /// In step with nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Progress {
            recorded: AtomicU64::new(u64::MAX),
            moving: Mutex::new(None),
            is_late: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
        }))
    }

    /// Makes what other processes committed hold for this request, and puts it on record first: in
    /// the ledger a credential is created before it is used.
    ///
    /// Without a change this is one look at memory and one comparison.
    pub async fn follow(&self, vault: &Vault, ledger: &Ledger) -> Result<(), Refusal> {
        let refreshed = vault.refresh().await;
        let alarms = vault.take_alarms();
        if !alarms.is_empty() {
            report(&alarms, ledger).await;
        }
        refreshed.map_err(|_| {
            Refusal::new(
                Code::StoreUnavailable,
                "the credential store cannot be read, so nothing was sent; check store.url and \
                 the disk",
            )
        })?;
        let generation = vault.generation();
        if self.0.has_left.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.0.recorded.load(Ordering::Acquire) != generation && !self.0.is_stalled() {
            let moving = self.record(generation, vault.store(), ledger);
            // Only a panic could end it otherwise, and the events are still in the outbox then.
            if tokio::time::timeout(PATIENCE, moving).await.is_err() {
                self.0.is_late.store(true, Ordering::Release);
                tracing::error!(
                    "administrative events wait for the store, which does not answer in time; \
                     the changes themselves are in force"
                );
            }
        }
        Ok(())
    }

    /// Moves no more events, and waits until none is being moved: another process does, and two would each
    /// write the same ones. What is changed still comes into force here.
    pub async fn leave(&self) {
        self.0.has_left.store(true, Ordering::Release);
        // A store that does not answer must not hold up the other process.
        let _ = tokio::time::timeout(PATIENCE, self.0.moving.lock()).await;
    }

    /// Moves the events in a task of its own. A request whose client leaves is dropped wherever it
    /// waits, and so is a task of a server that stops: between the write to the ledger and the
    /// removal from the outbox, the same events would be written again by whoever comes next.
    fn record(&self, generation: u64, store: &Store, ledger: &Ledger) -> JoinHandle<()> {
        let progress = Arc::clone(&self.0);
        let (store, ledger) = (store.clone(), ledger.clone());
        tokio::spawn(async move { progress.record(generation, &store, &ledger).await })
    }
}

impl Progress {
    /// Whether the store holds up the events. Then no request waits for them, or adds a task that
    /// does: the one that is at it goes on.
    fn is_stalled(&self) -> bool {
        self.is_late.load(Ordering::Acquire) && self.moving.try_lock().is_err()
    }

    async fn record(&self, generation: u64, store: &Store, ledger: &Ledger) {
        let mut moving = self.moving.lock().await;
        self.is_late.store(false, Ordering::Release);
        if self.recorded.load(Ordering::Acquire) == generation
            || self.has_left.load(Ordering::Acquire)
        {
            return;
        }
        match drain_outbox(store, ledger, &mut moving).await {
            Ok(()) => self.recorded.store(generation, Ordering::Release),
            // The change itself is in force. A request that uses a value will meet the same ledger.
            Err(error) => tracing::error!(%error, "administrative events wait for the ledger"),
        }
    }
}

/// Puts what the admin side changed in force and on record. It holds vault and ledger, and can do
/// nothing else with them.
#[derive(Clone)]
pub struct Recorder {
    changes: Changes,
    vault: Arc<Vault>,
    ledger: Ledger,
}

impl Recorder {
    /// In step with the requests that share `changes`.
    pub fn new(changes: Changes, vault: Arc<Vault>, ledger: Ledger) -> Self {
        Self {
            changes,
            vault,
            ledger,
        }
    }

    /// As [`Changes::follow`].
    pub async fn follow(&self) -> Result<(), Refusal> {
        self.changes.follow(&self.vault, &self.ledger).await
    }
}

/// Puts on record that the store as a whole is not what Egret wrote last.
pub async fn report_store(ledger: &Ledger) {
    report(&[Alarm::Store], ledger).await;
}

/// Puts on record what does not verify. The log has it already, also if the ledger does not take it.
async fn report(alarms: &[Alarm], ledger: &Ledger) {
    let lines: EncodedEntries = alarms.iter().map(alarm_line).collect();
    if let Err(error) = ledger.commit(lines).await {
        tracing::error!(%error, "the alarms about the store could not be recorded");
    }
}

fn alarm_line(alarm: &Alarm) -> Entry<'static> {
    let mut line = Entry::new(event::UNVERIFIED);
    match alarm {
        Alarm::Credential(owner, slug) => {
            line.owner = Some(owner.to_string().into());
            line.slug = Some(slug.to_string().into());
        }
        Alarm::Entry(name) => line.locations = vec![name.clone().into()],
        Alarm::Store => {}
    }
    line.code = Some(Code::StoreUnavailable.as_str().into());
    line
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

/// Moves administrative events from the store's outbox into the ledger, in order. An event leaves
/// the outbox only once its line is durable, so a crash in between repeats it and loses none. What is
/// `written` is removed first: a store that is full for hours must not have the ledger repeat it each time.
pub async fn drain_outbox(
    store: &Store,
    ledger: &Ledger,
    written: &mut Option<Waiting>,
) -> Result<(), DrainError> {
    if let Some(waiting) = written {
        store.outbox_done(waiting).await?;
        *written = None;
    }
    loop {
        let waiting = store.outbox_take(BATCH).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let alarms = alarms(&waiting);
        let mut lines: EncodedEntries = alarms.iter().map(alarm_line).collect();
        for event in &waiting.events {
            lines.push(&entry(event));
        }
        ledger.commit(lines).await?;
        if let Err(error) = store.outbox_done(&waiting).await {
            // Where events are missing, whatever is there by the next time would count as complete.
            *written = Some(waiting).filter(|waiting| !waiting.is_incomplete);
            return Err(error.into());
        }
    }
}

/// What of the events was not written by Egret. An event that is not its own is no line of the ledger.
fn alarms(waiting: &Waiting) -> Vec<Alarm> {
    let mut names: Vec<String> = Vec::new();
    if waiting.is_incomplete {
        names.push("events that waited for the ledger: some are missing, or were added".to_owned());
    }
    let changed = waiting.unverified.iter();
    names.extend(changed.map(|number| format!("event {number} that waited for the ledger")));
    for name in &names {
        tracing::error!(
            name,
            "the store was changed by something that is not Egret, or is damaged"
        );
    }
    names.into_iter().map(Alarm::Entry).collect()
}

fn entry(event: &AdminEvent) -> Entry<'_> {
    Entry {
        slug: event.slug.as_ref().map(|slug| slug.as_str().into()),
        field: event.field.as_ref().map(|field| field.as_str().into()),
        version: event.version,
        owner: event.owner.as_ref().map(|owner| owner.as_str().into()),
        principal: event.principal.as_ref().map(|name| name.as_str().into()),
        client: event.client.as_ref().map(|client| client.as_str().into()),
        // Who did it. An administrative line has no action of a request.
        action: Some(event.actor.as_str().into()),
        locations: described(event),
        ..Entry::new(event.event.as_str())
    }
}

/// Since when the change is in force, its number in the store, and what it says. The line's own
/// time is that of the ledger, which may have had to wait.
fn described(event: &AdminEvent) -> Vec<Text<'_>> {
    let since = Timestamp::from_unix_micros(event.time);
    let mut texts: Vec<Text<'_>> = vec![format!("since {since}").into()];
    texts.extend(
        event
            .revision
            .map(|number| format!("change {number}").into()),
    );
    let details = event.detail.split("; ").filter(|text| !text.is_empty());
    texts.extend(details.map(Into::into));
    texts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::files;
    use crate::ledger::{Durability, Options};
    use crate::vault::ClientName;
    use crate::vault::client_proof::ClientProof;
    use crate::vault::fixture::{Fixture, actor, principal};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_request_that_is_dropped_while_events_move_repeats_none() {
        const CLIENTS: u8 = 40;
        let fixture = Fixture::new();
        let vault = fixture.vault().await;
        let dir = fixture.data_dir().join("ledger");
        let ledger = Ledger::open(&dir, Durability::Commit, Options::default()).unwrap();
        let registrar = fixture.registrar().await;
        let changes = Changes::new();
        for number in 0..CLIENTS {
            let hash = [number; 32];
            let name = ClientName::parse(&format!("client-{number}")).unwrap();
            let added = registrar
                .add_client(
                    &actor(),
                    &name,
                    &principal("alice"),
                    ClientProof::Token(hash),
                    None,
                )
                .await;
            added.unwrap();
            // Dropped at another moment each time.
            let patience = Duration::from_micros(100 * u64::from(number));
            let _ = tokio::time::timeout(patience, changes.follow(&vault, &ledger)).await;
        }
        changes.follow(&vault, &ledger).await.unwrap();
        ledger.close().await.unwrap();

        let text = std::fs::read_to_string(dir.join(crate::ledger::CURRENT)).unwrap();
        let mut lines: BTreeMap<String, u64> = BTreeMap::new();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["event"] == "user.added" {
                continue;
            }
            assert_eq!(line["event"], "client.added");
            assert!(
                line["locations"][0]
                    .as_str()
                    .unwrap()
                    .starts_with("since 20")
            );
            *lines.entry(line["client"].to_string()).or_default() += 1;
        }
        let repeated: Vec<_> = lines.iter().filter(|(_, times)| **times != 1).collect();
        assert!(repeated.is_empty(), "{repeated:?}");
        assert_eq!(lines.len(), usize::from(CLIENTS));
    }

    /// The ledger has room, and the store has none, for as long as that lasts.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn events_that_the_store_cannot_remove_are_written_once() {
        let fixture = Fixture::new();
        let vault = fixture.vault().await;
        let registrar = fixture.registrar().await;
        let dir = fixture.data_dir().join("ledger");
        let ledger = Ledger::open(&dir, Durability::Commit, Options::default()).unwrap();
        let changes = Changes::new();
        changes.follow(&vault, &ledger).await.unwrap();
        // What is removed is put on record in this file first.
        let revision = fixture.data_dir().join(files::STORE_REVISION);
        let _ = std::fs::remove_file(&revision);
        std::fs::create_dir(&revision).unwrap();
        registrar.add_users(&["bob"]).await;
        for _ in 0..5 {
            changes.follow(&vault, &ledger).await.unwrap();
        }
        let waiting = registrar.store().outbox_take(10).await.unwrap();
        assert_eq!(waiting.events.len(), 1);
        std::fs::remove_dir(&revision).unwrap();
        registrar.add_users(&["carol"]).await;
        changes.follow(&vault, &ledger).await.unwrap();
        let waiting = registrar.store().outbox_take(10).await.unwrap();
        assert!(waiting.is_empty());
        ledger.close().await.unwrap();
        let text = std::fs::read_to_string(dir.join(crate::ledger::CURRENT)).unwrap();
        for name in ["bob", "carol"] {
            let of = |line: &&str| line.contains("user.added") && line.contains(name);
            assert_eq!(text.lines().filter(of).count(), 1, "{name}: {text}");
        }
    }

    /// Another process holds the write lock for longer than anyone waits.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn requests_do_not_queue_for_a_store_that_does_not_answer() {
        let fixture = Fixture::new();
        let vault = Arc::new(fixture.vault().await);
        let dir = fixture.data_dir().join("ledger");
        let ledger = Ledger::open(&dir, Durability::Commit, Options::default()).unwrap();
        let changes = Arc::new(Changes::new());
        changes.follow(&vault, &ledger).await.unwrap();
        let name = ClientName::parse("laptop").unwrap();
        let registrar = fixture.registrar().await;
        let store = registrar.store();
        store
            .add_client(
                &actor(),
                &name,
                &principal("alice"),
                ClientProof::Token([1; 32]),
                None,
            )
            .await
            .unwrap();
        let held = store.hold_writes().await;

        let start = Instant::now();
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (changes, vault, ledger) = (changes.clone(), vault.clone(), ledger.clone());
            requests.spawn(async move { changes.follow(&vault, &ledger).await });
        }
        for outcome in requests.join_all().await {
            assert!(outcome.is_ok(), "the change itself can be read");
        }
        assert!(
            start.elapsed() < PATIENCE + Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
        let start = Instant::now();
        changes.follow(&vault, &ledger).await.unwrap();
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "no other request waits"
        );

        drop(held);
        let recorded = async {
            while changes.0.recorded.load(Ordering::Acquire) != vault.generation() {
                changes.follow(&vault, &ledger).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), recorded)
            .await
            .unwrap();
        ledger.close().await.unwrap();
        let text = std::fs::read_to_string(dir.join(crate::ledger::CURRENT)).unwrap();
        assert!(text.contains("client.added"), "{text}");
    }
}
