//! The index as it is asked: opened, caught up with the ledger, and made again where it is damaged.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite, Transaction};

use super::answer::{self, LastUses, Rejections, Usage};
use super::choices::{self, Choices};
use super::filtered::{self, ActionSum, ClientUse, HourOfUse, LastActions, UsageFilter, UsageLine};
use super::kept::{self, KeptSince};
use super::position::{Cursor, Position};
use super::tally::Tally;
use super::{first_uses, known, schema, write};
use crate::ledger::first_uses::FirstUses;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::history::History;
use crate::ledger::layout;

/// Lines that are taken in with one transaction. Bounds the memory that a rebuild takes.
const BATCH: usize = 50_000;
/// Lines after which somebody who waits is thought of.
const LOOK: usize = 512;

/// Why the index cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The database refused; making it again may help.
    #[error("the usage index: {0}")]
    Database(#[from] sqlx::Error),
    /// The ledger could not be read.
    #[error("{path}: {source}", path = path.display())]
    Ledger {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl UsageError {
    /// Whether another process is at it: no reason to make the index again.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self, Self::Database(error) if is_locked(error))
    }
}

/// The index of one ledger.
pub struct UsageIndex {
    pub(super) connection: SqliteConnection,
    dir: PathBuf,
}

impl UsageIndex {
    /// The index of the ledger in `dir`, knowing every line that is there now. An index that cannot
    /// be used is replaced; where none can be kept, it is made in memory.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn open(dir: &Path) -> Result<Self, UsageError> {
        match Self::try_open(dir).await {
            Err(UsageError::Database(error)) if !is_locked(&error) => schema::remove(dir),
            Err(UsageError::Database(_)) => {}
            other => return other,
        }
        match Self::try_open(dir).await {
            Err(UsageError::Database(_)) => {}
            other => return other,
        }
        let mut index = Self {
            connection: schema::in_memory().await?,
            dir: dir.to_owned(),
        };
        index.catch_up(|| true).await?;
        Ok(index)
    }

    /// The index for someone who waits: it takes in lines for at most `wait`, and then answers with
    /// what it knows. [`Usage::to_seq`] and [`UsageIndex::known`] say how much that is.
    ///
    /// # Errors
    /// When the ledger cannot be read, or the index neither be read nor made again.
    pub async fn open_within(dir: &Path, wait: Duration) -> Result<Self, UsageError> {
        let start = Instant::now();
        let mut index = Self::open_behind(dir).await?;
        // While the server makes the index again, it holds the right to write for most of the time.
        schema::serve_who_waits(&mut index.connection, wait).await?;
        match index.catch_up(|| start.elapsed() < wait).await {
            // Another process is at it, and what is known can be read all the same.
            Err(error) if error.is_locked() => {}
            other => {
                other?;
            }
        }
        Ok(index)
    }

    async fn try_open(dir: &Path) -> Result<Self, UsageError> {
        let mut index = Self {
            connection: schema::open(dir).await?,
            dir: dir.to_owned(),
        };
        index.catch_up(|| true).await?;
        Ok(index)
    }

    /// The index as it is on disk, or a new one; it may not know the latest lines.
    pub(super) async fn open_behind(dir: &Path) -> Result<Self, UsageError> {
        let opened = match schema::open(dir).await {
            Err(error) if is_locked(&error) => Err(error),
            Err(_) => {
                schema::remove(dir);
                schema::open(dir).await
            }
            opened => opened,
        };
        Ok(Self {
            connection: opened?,
            dir: dir.to_owned(),
        })
    }

    /// Takes in the lines that came since, for as long as `go_on` says so; how many there were.
    ///
    /// # Errors
    /// When the ledger cannot be read or the index not be written.
    pub async fn catch_up(&mut self, go_on: impl Fn() -> bool) -> Result<u64, UsageError> {
        let dir = self.dir.clone();
        let ledger_error = |source| UsageError::Ledger {
            path: dir.clone(),
            source,
        };
        if self.is_current().await? {
            return Ok(0);
        }
        let history = History::open(&self.dir).map_err(ledger_error)?;
        self.forget_if_lines_returned(&history).await?;
        let mut cursor: Option<Cursor<'_>> = None;
        let mut taken = 0;
        while go_on() {
            let mut change = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let position = known::position(&mut change).await?;
            // Another process may have gone on since the last batch.
            let known = cursor.take();
            let known = known.and_then(|mut known| (known.position() == position).then_some(known));
            let mut reader =
                match known {
                    Some(cursor) => cursor,
                    None => resume(&history, position, &mut change)
                        .await
                        .map_err(|error| match error {
                            Resume::Database(error) => error.into(),
                            Resume::Ledger(error) => ledger_error(error),
                        })?,
                };
            let mut tally = Tally::after(known::unfinished(&mut change).await?);
            while tally.lines < BATCH && (tally.lines % LOOK != LOOK - 1 || go_on()) {
                let Some(line) = reader.next_line().map_err(ledger_error)? else {
                    break;
                };
                tally.line(line);
            }
            if tally.lines == 0 {
                break;
            }
            let lines = tally.lines;
            write::tally(&mut change, &tally).await?;
            if let Some(position) = reader.position() {
                known::set_position(&mut change, &position).await?;
            }
            for lines in reader.take_missing() {
                known::add_missing(&mut change, &lines).await?;
            }
            change.commit().await?;
            taken += lines as u64;
            cursor = Some(reader);
        }
        Ok(taken)
    }

    /// Whether nothing was written since the last line known, and no file came back, as far as
    /// that line and the names of the files tell.
    pub(super) async fn is_current(&mut self) -> Result<bool, UsageError> {
        let position = known::position(&mut self.connection).await?;
        if !position.is_some_and(|position| position.is_end_of(&self.dir)) {
            return Ok(false);
        }
        let rotated = layout::rotated_segments(&self.dir);
        let rotated = rotated.map_err(|source| UsageError::Ledger {
            path: self.dir.clone(),
            source,
        })?;
        for first in rotated.iter().filter_map(|segment| segment.first) {
            if known::is_returned(&mut self.connection, first).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lines were missing when the index was made, and their file is there again: sums cannot take
    /// them in after those that follow, so the index is made again.
    async fn forget_if_lines_returned(&mut self, history: &History) -> Result<(), UsageError> {
        let mut change = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for first in history.parts.iter().filter_map(|part| part.first) {
            if known::is_returned(&mut change, first).await? {
                tracing::info!(
                    first,
                    "lines of the ledger are there again; the usage index is made again"
                );
                known::clear(&mut change).await?;
                break;
            }
        }
        change.commit().await?;
        Ok(())
    }

    /// What is known of one credential.
    ///
    /// # Errors
    /// When the index can neither be read nor made again.
    pub async fn usage(&mut self, owner: &str, slug: &str) -> Result<Usage, UsageError> {
        if let Ok(usage) = answer::usage(&mut self.connection, owner, slug).await {
            return Ok(usage);
        }
        self.make_again().await?;
        Ok(answer::usage(&mut self.connection, owner, slug).await?)
    }

    /// When each credential was last used, by owner and slug.
    ///
    /// # Errors
    /// When the index can neither be read nor made again.
    pub async fn last_uses(&mut self) -> Result<LastUses, UsageError> {
        if let Ok(uses) = answer::last_uses(&mut self.connection).await {
            return Ok(uses);
        }
        self.make_again().await?;
        Ok(answer::last_uses(&mut self.connection).await?)
    }

    /// The same of these credentials alone.
    ///
    /// # Errors
    /// When the index can neither be read nor made again.
    pub async fn last_uses_of(
        &mut self,
        credentials: &[(String, String)],
    ) -> Result<LastUses, UsageError> {
        if let Ok(uses) = answer::last_uses_of(&mut self.connection, credentials).await {
            return Ok(uses);
        }
        self.make_again().await?;
        Ok(answer::last_uses_of(&mut self.connection, credentials).await?)
    }

    /// Which credentials upstreams refuse, by owner and slug.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn rejections(&mut self) -> Result<Rejections, UsageError> {
        Ok(answer::rejections(&mut self.connection, None).await?)
    }

    /// The uses and refusals of a credential that a filter asks for, before the line `before`, latest
    /// first, at most `limit`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn lines(
        &mut self,
        credential: (&str, &str),
        filter: &UsageFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<UsageLine>, UsageError> {
        let connection = &mut self.connection;
        Ok(filtered::lines(connection, credential, filter, before, limit).await?)
    }

    /// Its uses and refusals by hour.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn hours(
        &mut self,
        credential: (&str, &str),
        filter: &UsageFilter,
    ) -> Result<Vec<HourOfUse>, UsageError> {
        Ok(filtered::hours(&mut self.connection, credential, filter).await?)
    }

    /// What its lines can be filtered for, within the time and the user of `filter`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn choices(
        &mut self,
        credential: (&str, &str),
        filter: &UsageFilter,
    ) -> Result<Choices, UsageError> {
        Ok(choices::choices(&mut self.connection, credential, filter).await?)
    }

    /// The actions that used it since a time, those that did so last first, at most `limit`, each with its
    /// last use. Unlike [`UsageIndex::actions`] it knows those whose hours are kept no longer.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn actions_since(
        &mut self,
        credential: (&str, &str),
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<(String, Timestamp)>, UsageError> {
        Ok(kept::actions_since(&mut self.connection, credential, since, limit).await?)
    }

    /// From when on uses of it are counted by hour and kept one by one, where that is not from its first one.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn kept_since(&mut self, credential: (&str, &str)) -> Result<KeptSince, UsageError> {
        Ok(kept::since(&mut self.connection, credential).await?)
    }

    /// The actions that used it, those with most uses first, at most `limit`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn actions(
        &mut self,
        credential: (&str, &str),
        filter: &UsageFilter,
        limit: u32,
    ) -> Result<Vec<ActionSum>, UsageError> {
        Ok(filtered::actions(&mut self.connection, credential, filter, limit).await?)
    }

    /// What a client of `principal` did with any credential; `None` for nothing.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn client(
        &mut self,
        principal: &str,
        client: &str,
    ) -> Result<Option<ClientUse>, UsageError> {
        Ok(filtered::client(&mut self.connection, principal, client).await?)
    }

    /// The last use of each of these credentials, by owner and slug.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn last_actions(
        &mut self,
        credentials: &[(String, String)],
    ) -> Result<LastActions, UsageError> {
        Ok(filtered::last_actions(&mut self.connection, credentials).await?)
    }

    /// Tells who has used which credential.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn tell(&mut self, first_uses: &FirstUses) -> Result<(), UsageError> {
        Ok(first_uses::tell(&mut self.connection, first_uses).await?)
    }

    /// The number of the last line that it knows; 0 for none.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn known(&mut self) -> Result<u64, UsageError> {
        let position = known::position(&mut self.connection).await?;
        Ok(position.map_or(0, |position| position.seq))
    }

    /// Damage may show only when the page that has it is read.
    async fn make_again(&mut self) -> Result<(), UsageError> {
        let damaged = std::mem::replace(&mut self.connection, schema::in_memory().await?);
        // It is thrown away, whether it closes well or not.
        let _ = damaged.close().await;
        schema::remove(&self.dir);
        self.connection = Self::open(&self.dir).await?.connection;
        Ok(())
    }

    /// Closes the index where somebody waits: the last one to close it folds the write-ahead log back, and that
    /// is done in the thread of the database.
    pub fn leave(self) {}

    /// Closes the index.
    pub async fn close(self) {
        // What could fail is folding the write-ahead log back, and the next one to open does that.
        let _ = self.connection.close().await;
    }
}

/// Whether another process is at it: no reason to make the index again.
pub(super) fn is_locked(error: &sqlx::Error) -> bool {
    const BUSY: &str = "5";
    const LOCKED: &str = "6";
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| [BUSY, LOCKED].contains(&&*code))
}

enum Resume {
    Database(sqlx::Error),
    Ledger(io::Error),
}

/// The lines after the position. When the ledger does not have that position, the index is of another
/// ledger, or of one whose files are gone: it begins again.
async fn resume<'h>(
    history: &'h History,
    position: Option<Position>,
    change: &mut Transaction<'_, Sqlite>,
) -> Result<Cursor<'h>, Resume> {
    if let Some(position) = position {
        if let Some(cursor) = Cursor::after(history, position).map_err(Resume::Ledger)? {
            return Ok(cursor);
        }
        known::clear(change).await.map_err(Resume::Database)?;
    }
    Ok(Cursor::at_start(history))
}
