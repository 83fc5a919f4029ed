//! Changes made by other processes: in force, and on record, before the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::error::{Code, Refusal};
use crate::ledger::{Draft, Entry, Ledger, LedgerUnavailable};
use crate::vault::store::AdminEvent;
use crate::vault::{Store, StoreUnavailable, Vault};

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
pub struct Changes(Arc<Progress>);

/// How far events have been moved into the ledger.
struct Progress {
    /// The vault's generation whose events are in the ledger.
    recorded: AtomicU64,
    /// Held while events are moved, so that no two requests move the same ones.
    moving: Mutex<()>,
}

impl Changes {
    /// In step with nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Progress {
            recorded: AtomicU64::new(u64::MAX),
            moving: Mutex::new(()),
        }))
    }

    /// Makes what other processes committed hold for this request, and puts it on record first: in
    /// the ledger a credential is created before it is used.
    ///
    /// Without a change this is one look at memory and one comparison.
    pub async fn follow(&self, vault: &Vault, ledger: &Ledger) -> Result<(), Refusal> {
        vault.refresh().await.map_err(|_| {
            Refusal::new(
                Code::StoreUnavailable,
                "the credential store cannot be read, so nothing was sent; check store.url and \
                 the disk",
            )
        })?;
        let generation = vault.generation();
        if self.0.recorded.load(Ordering::Acquire) != generation {
            // Only a panic could end it otherwise, and the events are still in the outbox then.
            let _ = self.record(generation, vault.store(), ledger).await;
        }
        Ok(())
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
    async fn record(&self, generation: u64, store: &Store, ledger: &Ledger) {
        let _moving = self.moving.lock().await;
        if self.recorded.load(Ordering::Acquire) == generation {
            return;
        }
        match drain_outbox(store, ledger).await {
            Ok(()) => self.recorded.store(generation, Ordering::Release),
            // The change itself is in force. A request that uses a value will meet the same ledger.
            Err(error) => tracing::error!(%error, "administrative events wait for the ledger"),
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

/// Moves administrative events from the store's outbox into the ledger, in order. An event leaves
/// the outbox only once its line is durable, so a crash in between repeats it and loses none.
pub async fn drain_outbox(store: &Store, ledger: &Ledger) -> Result<(), DrainError> {
    loop {
        let events = store.outbox_take(BATCH).await?;
        if events.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
        let lines: Draft = events.iter().map(entry).collect();
        ledger.commit(lines).await?;
        store.outbox_done(&ids).await?;
    }
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
        ..Entry::new(event.event.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::ledger::{Durability, Options};
    use crate::vault::ClientName;
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
                .store()
                .add_client(&actor(), &name, &principal("alice"), &hash, None)
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
            assert_eq!(line["event"], "client.added");
            *lines.entry(line["client"].to_string()).or_default() += 1;
        }
        let repeated: Vec<_> = lines.iter().filter(|(_, times)| **times != 1).collect();
        assert!(repeated.is_empty(), "{repeated:?}");
        assert_eq!(lines.len(), usize::from(CLIENTS));
    }
}
