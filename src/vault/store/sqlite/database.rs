//! The open database file, and transactions on it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, Sqlite, Transaction};
use tokio::sync::Mutex;

use super::commits::WalWatch;
use super::location::Location;
use super::schema;
use crate::vault::name::Actor;
use crate::vault::seal::KeyId;
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::{clock, files};

/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle on the database; clones share its connections.
#[derive(Clone, Debug)]
pub struct Database {
    pub(super) pool: SqlitePool,
    anchor: Arc<Mutex<Option<SqliteConnection>>>,
    path: Arc<Path>,
}

impl Database {
    /// Opens the database, and creates the file and its tables if they are missing.
    ///
    /// File and directory are private to the user whatever the umask. SQLite gives its `-wal` and
    /// `-shm` files the mode of the database.
    pub async fn open(Location(path): &Location) -> Result<Self, StoreUnavailable> {
        let path = prepare_file(path).map_err(|error| {
            StoreUnavailable::new(format!("{} cannot be prepared: {error}", path.display()))
        })?;
        let options = options(&path);
        let mut anchor = options.connect().await?;
        enter_wal_mode(&mut anchor).await?;
        schema::migrate(&mut anchor, clock::unix_seconds()).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            anchor: Arc::new(Mutex::new(Some(anchor))),
            path: path.into(),
        })
    }

    /// The last connection to close moves the write-ahead log into the database.
    pub async fn close(&self) {
        self.pool.close().await;
        if let Some(anchor) = self.anchor.lock().await.take() {
            // If this fails, the next process to open the database moves the log.
            let _ = anchor.close().await;
        }
    }

    pub async fn bind_key(&self, id: KeyId) -> Result<(), StoreError> {
        let bound = "SELECT key_id FROM state WHERE id = 1 AND key_id IS NOT NULL";
        let mut row = sqlx::query(bound).fetch_optional(&self.pool).await?;
        if row.is_none() {
            sqlx::query("UPDATE state SET key_id = ? WHERE id = 1 AND key_id IS NULL")
                .bind(id.0.as_slice())
                .execute(&self.pool)
                .await?;
            row = sqlx::query(bound).fetch_optional(&self.pool).await?;
        }
        let expected: Vec<u8> = match row {
            Some(row) => row.try_get(0)?,
            None => return Err(StoreUnavailable::new("the state row is missing").into()),
        };
        if expected == id.0 {
            return Ok(());
        }
        let expected = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(StoreError::OtherKey {
            expected,
            found: id.to_string(),
        })
    }

    /// A watch that was seen to notice a commit. Shared memory and file reads agree on every known
    /// filesystem; where they do not, a revocation must not be missed.
    pub async fn watch(&self) -> Result<WalWatch, StoreUnavailable> {
        let mut watch =
            WalWatch::new(&self.path).map_err(|error| StoreUnavailable::new(error.to_string()))?;
        let before = watch.read();
        self.probe().await?;
        if before.is_none() || before == watch.read() {
            tracing::warn!(
                "commits cannot be noticed on this filesystem; every request asks the store"
            );
            watch.distrust();
        }
        Ok(watch)
    }

    /// Commits something that changes nothing.
    async fn probe(&self) -> Result<(), StoreUnavailable> {
        sqlx::query("UPDATE state SET probes = probes + 1 WHERE id = 1")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Begins a change: takes the write lock and the next revision.
    pub(super) async fn begin<'a>(&self, actor: &'a Actor) -> Result<Change<'a>, StoreError> {
        // IMMEDIATE: a deferred transaction that first reads and then writes can fail with
        // SQLITE_BUSY without waiting, because its snapshot is outdated.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query(
            "UPDATE state SET revision = revision + 1 WHERE id = 1
             RETURNING revision, (SELECT max(version) FROM migrations)",
        )
        .fetch_one(&mut *transaction)
        .await?;
        let schema: i64 = row.try_get(1)?;
        if schema != schema::CURRENT {
            return Err(schema::too_new(schema).into());
        }
        Ok(Change {
            transaction,
            revision: row.try_get(0)?,
            time: clock::unix_micros(),
            actor,
        })
    }

    /// Empties the write-ahead log, which still holds pages with ciphertext that was just erased
    /// from the database. A reader can prevent it; then the next checkpoint does it.
    pub(super) async fn erase_log(&self) {
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&self.pool)
            .await
        {
            tracing::debug!(%error, "the write-ahead log could not be emptied yet");
        }
    }
}

/// An administrative change in progress. Dropped without [`Change::commit`], it is rolled back.
pub(super) struct Change<'a> {
    pub(super) transaction: Transaction<'static, Sqlite>,
    pub(super) revision: i64,
    pub(super) time: i64,
    pub(super) actor: &'a Actor,
}

impl Change<'_> {
    /// The time of the change in unix seconds.
    pub(super) fn now(&self) -> i64 {
        self.time / 1_000_000
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.transaction.commit().await?)
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Deleted rows are overwritten with zeros, so the file does not hold a deleted value.
        .pragma("secure_delete", "ON")
        .pragma("trusted_schema", "OFF")
        .thread_name(|id| format!("egret-store-{id}"))
        .disable_statement_logging()
}

/// Retries until the deadline: a change of the mode needs an exclusive lock to which the busy
/// timeout does not apply, and two processes may start on a new data directory at once.
async fn enter_wal_mode(connection: &mut SqliteConnection) -> Result<(), StoreUnavailable> {
    let deadline = tokio::time::Instant::now() + BUSY_TIMEOUT;
    loop {
        let attempt = sqlx::query("PRAGMA journal_mode = WAL")
            .fetch_one(&mut *connection)
            .await;
        match attempt {
            // On a filesystem without shared memory the mode does not change. That is slower, since
            // every request then asks the database, but correct.
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Creates the file for SQLite, so that it never exists with a wider mode than 0600.
///
/// An existing file is checked by path and never opened, for the reason that [`super`] gives.
fn prepare_file(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    if let Some(directory) = path.parent() {
        files::private_directory(directory)?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(files::PRIVATE)
        .open(&path)
    {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for suffix in ["", "-wal", "-shm"] {
        files::make_private(&files::beside(&path, suffix))?;
    }
    Ok(path)
}
