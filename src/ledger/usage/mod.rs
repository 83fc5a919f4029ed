//! The usage index: which actions used a credential, when, from which version, with what outcome.
//!
//! `ledger/usage.db` answers that at once on a ledger of any length. It is derived from the lines
//! and never the truth: deleted, damaged or belonging to another ledger, it is made again. What
//! binds it to its ledger is the hash of the last line it knows, which is looked up at its place
//! before anything is added; by the chain that hash stands for all lines before.
//!
//! Whoever asks catches up first, and the server does in the background, so that little is left to
//! do. Several processes may: each batch of lines is one transaction, which begins with where the
//! last one ended.

mod answer;
mod keeper;
mod position;
mod schema;
mod tally;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite, Transaction};

use super::history::History;
use position::{Cursor, Place};
use tally::Tally;

pub use answer::{ActionUsage, LastUses, RecentUse, Usage};
pub use keeper::keep;

/// The index, inside the ledger's directory.
pub const USAGE: &str = "usage.db";

/// Lines that are taken in with one transaction. Bounds the memory that a rebuild takes.
const BATCH: usize = 50_000;

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

/// The index of one ledger.
pub struct UsageIndex {
    connection: SqliteConnection,
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

    async fn try_open(dir: &Path) -> Result<Self, UsageError> {
        let mut index = Self {
            connection: schema::open(dir).await?,
            dir: dir.to_owned(),
        };
        index.catch_up(|| true).await?;
        Ok(index)
    }

    /// The index as it is on disk, or a new one; it may not know the latest lines.
    async fn open_behind(dir: &Path) -> Result<Self, UsageError> {
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
        let mut cursor: Option<Cursor<'_>> = None;
        let mut taken = 0;
        while go_on() {
            let mut change = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let place = write::place(&mut change).await?;
            // Another process may have gone on since the last batch.
            let known = cursor.take();
            let known = known.and_then(|mut known| (known.place() == place).then_some(known));
            let mut reader = match known {
                Some(cursor) => cursor,
                None => {
                    resume(&history, place, &mut change)
                        .await
                        .map_err(|error| match error {
                            Resume::Database(error) => error.into(),
                            Resume::Ledger(error) => ledger_error(error),
                        })?
                }
            };
            let mut tally = Tally::after(write::unfinished(&mut change).await?);
            while tally.lines < BATCH {
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
            if let Some(place) = reader.place() {
                write::set_place(&mut change, &place).await?;
            }
            change.commit().await?;
            taken += lines as u64;
            cursor = Some(reader);
        }
        Ok(taken)
    }

    /// Whether nothing was written since the last line known, so far as one glance tells.
    async fn is_current(&mut self) -> Result<bool, UsageError> {
        let place = write::place(&mut self.connection).await?;
        Ok(place.is_some_and(|place| place.is_end_of(&self.dir)))
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

    /// Damage may show only when the page that has it is read.
    async fn make_again(&mut self) -> Result<(), UsageError> {
        let damaged = std::mem::replace(&mut self.connection, schema::in_memory().await?);
        // It is thrown away, whether it closes well or not.
        let _ = damaged.close().await;
        schema::remove(&self.dir);
        self.connection = Self::open(&self.dir).await?.connection;
        Ok(())
    }

    /// Closes the index.
    pub async fn close(self) {
        // What could fail is folding the write-ahead log back, and the next one to open does that.
        let _ = self.connection.close().await;
    }
}

/// Whether another process is at it: no reason to make the index again.
fn is_locked(error: &sqlx::Error) -> bool {
    const BUSY: &str = "5";
    const LOCKED: &str = "6";
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| [BUSY, LOCKED].contains(&&*code))
}

enum Resume {
    Database(sqlx::Error),
    Ledger(io::Error),
}

/// The lines behind the place. When the ledger does not have that place, the index is of another
/// ledger, or of one whose files are gone: it begins anew.
async fn resume<'h>(
    history: &'h History,
    place: Option<Place>,
    change: &mut Transaction<'_, Sqlite>,
) -> Result<Cursor<'h>, Resume> {
    if let Some(place) = place {
        if let Some(cursor) = Cursor::after(history, place).map_err(Resume::Ledger)? {
            return Ok(cursor);
        }
        write::clear(change).await.map_err(Resume::Database)?;
    }
    Ok(Cursor::at_start(history))
}

#[cfg(test)]
mod tests;
