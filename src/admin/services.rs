//! What handlers read and change with, beside the registrar.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::imports::Imports;
use super::problem::{AdminProblem, Trouble};
use super::streams::Streams;
use crate::changes::Recorder;
use crate::identity::Minter;
use crate::ledger::Timestamp;
use crate::ledger::background_check::BackgroundCheck;
use crate::ledger::own_keys::{Bringing, Tally, own_keys};
use crate::ledger::proof::{self, Latest, Proof, ProveError};
use crate::ledger::usage::{LastUses, Usage, UsageError, UsageFilter, UsageLine, UsageReader};
use crate::ledger::verify::Ask;
use crate::ledger::went::{self, Journeys, Went};
use crate::ledger::window::{Lines, Window};
use crate::vault::handover::Handovers;
use crate::vault::{Credential, Reader};

/// Longest time for adding up where clients went.
const JOURNEY: Duration = Duration::from_secs(5);
/// How many read the files of the ledger at once.
const READERS: usize = 2;

/// What handlers read and change with. None of it opens a value. Clones share it.
#[derive(Clone)]
pub struct AdminServices {
    /// What users may know of.
    pub reader: Reader,
    /// Puts changes in force and on record.
    pub recorder: Recorder,
    /// Mints action tokens for clients.
    pub minter: Minter,
    /// Hands credentials over to another owner.
    pub handovers: Handovers,
    /// What people import.
    pub imports: Imports,
    /// The streams that are open.
    pub streams: Streams,
    /// The check of the whole ledger that somebody asked for.
    pub check: BackgroundCheck,
    usage: UsageReader,
    ledger: Arc<Path>,
    reading: Arc<Semaphore>,
}

impl AdminServices {
    /// With the ledger in `ledger`.
    pub fn new(
        reader: Reader,
        recorder: Recorder,
        minter: Minter,
        handovers: Handovers,
        ledger: &Path,
    ) -> Self {
        Self {
            reader,
            recorder,
            minter,
            handovers,
            imports: Imports::default(),
            streams: Streams::default(),
            check: BackgroundCheck::default(),
            usage: UsageReader::new(ledger),
            ledger: ledger.into(),
            reading: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// When each of these credentials was last used.
    pub async fn last_uses<'a>(
        &self,
        credentials: impl Iterator<Item = &'a Credential>,
    ) -> Result<LastUsed, AdminProblem> {
        let ids = credentials.map(|one| (one.owner.to_string(), one.slug.to_string()));
        let ids: Vec<_> = ids.collect();
        Ok(LastUsed(self.usage.last_uses_of(&ids).await?))
    }

    /// What is known of the use of a credential.
    pub async fn usage(&self, owner: &str, slug: &str) -> Result<Usage, AdminProblem> {
        Ok(self.usage.usage(owner, slug).await?)
    }

    /// Uses and refusals of a credential that a filter asks for, before the line `before`, latest first, at
    /// most `limit`.
    pub async fn uses(
        &self,
        credential: (&str, &str),
        filter: &UsageFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<UsageLine>, AdminProblem> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Ok(self.usage.lines(credential, filter, before, limit).await?)
    }

    /// Lines of the ledger.
    pub async fn lines(&self, window: Window) -> Result<Lines, AdminProblem> {
        self.read(move |dir| window.read(dir)).await
    }

    /// A proof that a line is in the ledger, or why there is none; under a checkpoint that was kept
    /// elsewhere, or the first one that covers the line.
    pub async fn prove(
        &self,
        seq: u64,
        kept: Option<String>,
    ) -> Result<Result<Proof, ProveError>, AdminProblem> {
        self.read(move |dir| Ok::<_, ProveError>(proof::prove(dir, seq, kept)))
            .await
    }

    /// The latest checkpoint of the ledger, if anything is signed.
    pub async fn checkpoint(&self) -> Result<Option<Latest>, AdminProblem> {
        self.read(proof::latest).await
    }

    /// Where clients went since a time (unix seconds).
    pub async fn journeys(&self, since: i64) -> Result<Journeys, AdminProblem> {
        self.read(move |dir| went::journeys(dir, since, JOURNEY))
            .await
    }

    /// Where clients brought keys of their own since a time (unix seconds).
    pub async fn own_keys(&self, since: i64) -> Result<BTreeMap<Bringing, Tally>, AdminProblem> {
        self.read(move |dir| own_keys(dir, since)).await
    }

    /// What clients did since a time (unix seconds) that was let through, with when it was last.
    pub async fn went_through(&self, since: i64) -> Result<BTreeMap<Went, String>, AdminProblem> {
        self.read(move |dir| went::recent(dir, since, went::Kind::WentThrough))
            .await
    }

    /// Reads files of the ledger, of which only a few do at once.
    async fn read<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
        &self,
        read: impl FnOnce(&Path) -> Result<T, E> + Send + 'static,
    ) -> Result<T, AdminProblem> {
        let turn = Arc::clone(&self.reading).acquire_owned().await;
        let turn = turn.map_err(|_| AdminProblem::new(Trouble::Internal))?;
        let dir = Arc::clone(&self.ledger);
        let reading = tokio::task::spawn_blocking(move || {
            let found = read(&dir);
            drop(turn);
            found
        });
        let found = reading
            .await
            .map_err(|_| AdminProblem::new(Trouble::Internal))?;
        found.map_err(|error| {
            tracing::error!(%error, "the admin side cannot read the ledger");
            AdminProblem::new(Trouble::LedgerUnavailable)
        })
    }

    /// Begins to check the whole ledger, unless a check runs; the number of the check.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn begin_check(&self, ask: Ask) -> Result<Option<u64>, AdminProblem> {
        self.check.begin(&self.ledger, ask).map_err(|error| {
            tracing::error!(%error, "the ledger cannot be checked");
            AdminProblem::new(Trouble::Internal)
        })
    }

    /// The file that the ledger's lines are added to.
    pub fn current_ledger(&self) -> PathBuf {
        self.ledger.join(crate::ledger::CURRENT)
    }
}

/// When each credential was last used.
pub struct LastUsed(LastUses);

impl LastUsed {
    /// When this one was.
    pub fn of(&self, credential: &Credential) -> Option<Timestamp> {
        let name = (credential.owner.to_string(), credential.slug.to_string());
        self.0.get(&name).copied()
    }
}

impl From<UsageError> for AdminProblem {
    fn from(error: UsageError) -> Self {
        tracing::error!(%error, "the admin side cannot read the usage index");
        Self::new(Trouble::LedgerUnavailable)
    }
}
