//! The open database file, and transactions on it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, Sqlite, Transaction};
use tokio::sync::Mutex;

use super::commits::WalWatch;
use super::location::Location;
use super::reserve::{Given, Reserve};
use super::together::Together;
use super::{schema, seen};
use crate::vault::name::Actor;
use crate::vault::policy_key::{Head, PolicyKey, PolicyKeys};
use crate::vault::store::condition::Condition;
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::{clock, files};

/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a connection that was given back has no transaction open. Where the disk is full SQLite may
/// end one by itself; to roll it back fails then, and sqlx takes it as open for as long as the connection
/// lives: no change could be made on it any more.
async fn is_usable(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    if connection.is_in_transaction() {
        // The one before may still be rolled back, in the connection's thread.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// A handle on the database; clones share its connections.
#[derive(Clone, Debug)]
pub struct Database {
    pub(super) pool: SqlitePool,
    pub(super) keys: PolicyKeys,
    anchor: Arc<Mutex<Option<SqliteConnection>>>,
    path: Arc<Path>,
    pub(super) reserve: Reserve,
    pub(super) seen: Arc<Path>,
    /// What has to hold for a change to be made.
    condition: Option<Arc<Condition>>,
    /// The transaction that changes are made in, if several are made together.
    pub(super) together: Option<Together>,
}

impl Database {
    /// Opens the database, and creates the file and its tables if they are missing. It must belong
    /// to a master key of `keys`, or to none yet.
    ///
    /// File and directory are private to the user whatever the umask. SQLite gives its `-wal` and
    /// `-shm` files the mode of the database.
    pub async fn open(location: &Location, keys: PolicyKeys) -> Result<Self, StoreError> {
        let database = Self::connect(location, keys).await?;
        match database.admit().await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.close().await;
                Err(error)
            }
        }
    }

    /// Opens the file, whatever it holds.
    pub(super) async fn connect(location: &Location, keys: PolicyKeys) -> Result<Self, StoreError> {
        if location.seen.with_file_name(files::RESTORING).exists() {
            return Err(StoreUnavailable::new(
                "a backup is being put back here, or that was interrupted; run `egret restore` again",
            )
            .into());
        }
        let path = prepare_file(&location.database).map_err(|error| {
            let path = location.database.display();
            StoreUnavailable::new(format!("{path} cannot be prepared: {error}"))
        })?;
        let options = options(&path);
        let mut anchor = options.connect().await?;
        enter_wal_mode(&mut anchor).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(is_usable(connection)))
            .connect_lazy_with(options);
        Ok(Self {
            reserve: Reserve::of(&path, &pool),
            pool,
            keys,
            anchor: Arc::new(Mutex::new(Some(anchor))),
            path: path.into(),
            seen: location.seen.as_path().into(),
            condition: None,
            together: None,
        })
    }

    /// Brings the tables up to date and checks that the store is the one that the ledger knows.
    async fn admit(&self) -> Result<(), StoreError> {
        // Most starts have nothing to migrate, and take no write lock to find out.
        let mut connection = self.pool.acquire().await?;
        if schema::version(&mut connection).await? != schema::CURRENT {
            drop(connection);
            self.upgrade().await?;
            connection = self.pool.acquire().await?;
        }
        // Read first: what another process puts on record meanwhile is in the state that is read then.
        let on_record = seen::read(&self.seen, &self.keys);
        let row = sqlx::query(STATE).fetch_one(&mut *connection).await?;
        let key = key_of(&row, &self.keys)?;
        let head = head_of(&row, &key)?;
        check_age(&head, on_record?)
    }

    /// The same database, for a change that is made only if `condition` holds.
    pub fn when(&self, condition: Condition) -> Self {
        Self {
            condition: Some(Arc::new(condition)),
            ..self.clone()
        }
    }

    /// The same database, whose changes are made in this transaction.
    pub(super) fn within(&self, together: Together) -> Self {
        Self {
            together: Some(together),
            ..self.clone()
        }
    }

    /// Migrates the tables. Of several processes the first one does it.
    pub(super) async fn upgrade(&self) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let found = schema::version(&mut transaction).await?;
        if found < schema::AUTHENTICATED && seen::read(&self.seen, &self.keys)?.is_some() {
            // What was authenticated once is not taken over again without: anyone could write it.
            return Err(StoreError::Replaced);
        }
        let mut key = self.keys.current();
        if found > 0 {
            let row = sqlx::query(BOUND).fetch_one(&mut *transaction).await?;
            key = key_of(&row, &self.keys)?;
        }
        schema::migrate(&mut transaction, clock::unix_seconds()).await?;
        if found >= schema::AUTHENTICATED {
            // Its rows are objects already, and its head still says what they are.
            if found < schema::AUTHENTICATED_EVENTS {
                return self.take_over_events(transaction, key).await;
            }
            return Ok(transaction.commit().await?);
        }
        let revision: i64 =
            sqlx::query("UPDATE state SET key_id = ? WHERE id = 1 RETURNING revision")
                .bind(key.id().as_bytes())
                .fetch_one(&mut *transaction)
                .await?
                .try_get(0)?;
        let actor = Actor::server("upgrade");
        let mut change = Change {
            transaction,
            key,
            revision: revision + 1,
            head: Head::default(),
            time: clock::unix_micros(),
            actor: &actor,
            together: None,
            takes_away: false,
            reserve: None,
            given: None,
        };
        change.take_over().await?;
        change.authenticate_events().await?;
        schema::drop_unauthenticated(&mut change.transaction).await?;
        change.head.directory_revision = change.revision;
        change.commit().await
    }

    /// Authenticates the events of a store whose other rows are authenticated already. It counts as a
    /// change, so that the state of before, with other events, is older than the one on record.
    async fn take_over_events(
        &self,
        mut transaction: Transaction<'static, Sqlite>,
        key: PolicyKey,
    ) -> Result<(), StoreError> {
        let row = sqlx::query(STATE).fetch_one(&mut *transaction).await?;
        let head = verified_head(&row, |sealed| key.open_former_head(sealed))?;
        // Taken over once already, and then put back: a second time would look like the first.
        check_age(&head, seen::read(&self.seen, &self.keys)?)?;
        let actor = Actor::server("upgrade");
        let mut change = Change {
            transaction,
            key,
            revision: head.revision + 1,
            head,
            time: clock::unix_micros(),
            actor: &actor,
            together: None,
            takes_away: false,
            reserve: None,
            given: None,
        };
        let revision = change.revision;
        change.authenticate_events().await?;
        change.commit().await?;
        Ok(self.expect_revision(revision).await?)
    }

    /// The last connection to close moves the write-ahead log into the database.
    pub async fn close(&self) {
        self.pool.close().await;
        if let Some(anchor) = self.anchor.lock().await.take() {
            // If this fails, the next process to open the database moves the log.
            let _ = anchor.close().await;
        }
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

    /// A snapshot to read from, and the key under which everything in it is sealed.
    pub(super) async fn snapshot(
        &self,
    ) -> Result<(Transaction<'static, Sqlite>, PolicyKey), StoreUnavailable> {
        self.keyed(self.pool.begin().await?).await
    }

    /// As [`Database::snapshot`], to write what is no change of policy.
    pub(super) async fn snapshot_to_write(
        &self,
    ) -> Result<(Transaction<'static, Sqlite>, PolicyKey), StoreUnavailable> {
        self.keyed(self.pool.begin_with("BEGIN IMMEDIATE").await?)
            .await
    }

    async fn keyed(
        &self,
        mut transaction: Transaction<'static, Sqlite>,
    ) -> Result<(Transaction<'static, Sqlite>, PolicyKey), StoreUnavailable> {
        let row = sqlx::query(BOUND).fetch_one(&mut *transaction).await?;
        let key = reading_key(&row, &self.keys)?;
        Ok((transaction, key))
    }

    /// Reads one row, past every cache of this program.
    pub async fn ping(&self) -> Result<(), StoreUnavailable> {
        let state = sqlx::query("SELECT revision FROM state WHERE id = 1");
        state.fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Gives the store the head that an Egret wrote which did not authenticate events.
    #[cfg(test)]
    pub async fn put_former_head(&self) {
        let mut connection = self.pool.acquire().await.unwrap();
        let row = sqlx::query(STATE)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let key = key_of(&row, &self.keys).unwrap();
        let former = key.seal_former_head(&head_of(&row, &key).unwrap());
        sqlx::query("UPDATE state SET head = ?")
            .bind(former)
            .execute(&mut *connection)
            .await
            .unwrap();
    }

    /// Takes the write lock and keeps it.
    #[cfg(test)]
    pub async fn hold_writes(&self) -> Transaction<'static, Sqlite> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.unwrap()
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
        if let Some(together) = &self.together {
            let mut change = Change::of(together, actor).await?;
            if let Some(condition) = &self.condition {
                change.check(condition).await?;
            }
            return Ok(change);
        }
        // IMMEDIATE: a deferred transaction that first reads and then writes can fail with
        // SQLITE_BUSY without waiting, because its snapshot is outdated.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query(STATE).fetch_one(&mut *transaction).await?;
        let key = key_of(&row, &self.keys)?;
        let head = head_of(&row, &key)?;
        let mut change = Change {
            transaction,
            key,
            revision: head.revision + 1,
            head,
            time: clock::unix_micros(),
            actor,
            together: None,
            takes_away: false,
            reserve: Some(self.reserve.clone()),
            given: None,
        };
        if let Some(condition) = &self.condition {
            change.check(condition).await?;
        }
        Ok(change)
    }

    /// Begins a change that takes something away, of which so much may be written that it goes to the disk
    /// before the commit.
    pub(super) async fn begin_taking_away<'a>(
        &self,
        actor: &'a Actor,
    ) -> Result<Change<'a>, StoreError> {
        let given = match &self.together {
            // Changes that are made together may add as much as they take away.
            Some(_) => None,
            None => self.reserve.give(),
        };
        let change = self.begin(actor).await?;
        Ok(Change { given, ..change })
    }

    /// Keeps space for changes that take something away.
    pub async fn keep_reserve(&self) -> Result<(), StoreUnavailable> {
        let reserve = self.reserve.clone();
        let kept = tokio::task::spawn_blocking(move || reserve.keep()).await;
        match kept {
            Ok(Err(error)) => Err(StoreUnavailable::new(error.to_string())),
            // A panic is reported where it happens.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Whether a change could be committed now. It is tried where the disk has little left.
    pub async fn can_commit(&self) -> Result<(), StoreUnavailable> {
        if self.reserve.is_needed() {
            self.probe().await?;
        }
        Ok(())
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

/// The state row, and the version of the tables.
pub(super) const STATE: &str = "SELECT revision, client_revision, key_id, head,
     (SELECT max(version) FROM migrations) AS schema FROM state WHERE id = 1";

/// The name of the master key under which the store is sealed.
const BOUND: &str = "SELECT key_id FROM state WHERE id = 1";

/// The key under which everything is sealed that is read with this row, in one transaction.
pub(super) fn key_of(row: &SqliteRow, keys: &PolicyKeys) -> Result<PolicyKey, StoreError> {
    let bound: Option<&[u8]> = row.try_get("key_id")?;
    let Some(bound) = bound else {
        return Ok(keys.current());
    };
    keys.follow(bound).ok_or_else(|| StoreError::OtherKey {
        expected: bound.iter().map(|byte| format!("{byte:02x}")).collect(),
        found: keys.current().id().to_string(),
    })
}

/// [`key_of`] for what only reads.
pub(super) fn reading_key(
    row: &SqliteRow,
    keys: &PolicyKeys,
) -> Result<PolicyKey, StoreUnavailable> {
    key_of(row, keys).map_err(|error| match error {
        StoreError::Unavailable(error) => error,
        error => StoreUnavailable::new(error.to_string()),
    })
}

/// The head of the store. The plain columns of the row have to agree with it: queries rely on them.
pub(super) fn head_of(row: &SqliteRow, key: &PolicyKey) -> Result<Head, StoreUnavailable> {
    let schema: i64 = row.try_get("schema")?;
    if schema != schema::CURRENT {
        return Err(schema::too_new(schema));
    }
    verified_head(row, |sealed| key.open_head(sealed))
}

/// Refuses a store that is older than the revision on record.
fn check_age(head: &Head, on_record: Option<i64>) -> Result<(), StoreError> {
    match on_record {
        Some(on_record) if head.revision < on_record => Err(StoreError::Older {
            found: head.revision,
            on_record,
        }),
        _ => Ok(()),
    }
}

fn verified_head(
    row: &SqliteRow,
    open: impl FnOnce(&[u8]) -> Option<Head>,
) -> Result<Head, StoreUnavailable> {
    let sealed: Option<&[u8]> = row.try_get("head")?;
    let plain = (row.try_get("revision")?, row.try_get("client_revision")?);
    sealed
        .and_then(open)
        .filter(|head| (head.revision, head.directory_revision) == plain)
        .ok_or_else(|| {
            StoreUnavailable::alarming(
                "the database was changed by something that is not Egret, or is damaged: its \
                 state does not verify. Restore a backup",
            )
        })
}

/// An administrative change in progress. Dropped without [`Change::commit`], it is rolled back.
pub(super) struct Change<'a> {
    pub(super) transaction: Transaction<'static, Sqlite>,
    pub(super) key: PolicyKey,
    pub(super) revision: i64,
    pub(super) head: Head,
    pub(super) time: i64,
    pub(super) actor: &'a Actor,
    /// Where the transaction goes for the next change, if several are made together.
    pub(super) together: Option<Together>,
    /// Whether it takes something away, which has to be possible on a full disk.
    pub(super) takes_away: bool,
    /// Where it finds space there; `None` for changes that are no one's command.
    pub(super) reserve: Option<Reserve>,
    /// That space.
    pub(super) given: Option<Given>,
}

impl Change<'_> {
    /// The time of the change in unix seconds.
    pub(super) fn now(&self) -> i64 {
        self.time / 1_000_000
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        if self.together.is_some() {
            return self.leave().await;
        }
        self.head.revision = self.revision;
        put_head(&mut self.transaction, &self.key, &self.head).await?;
        if self.takes_away && self.given.is_none() {
            // Until here nothing was written: what is changed goes to the disk with the commit.
            self.given = self.reserve.as_ref().and_then(Reserve::give);
        }
        self.transaction.commit().await?;
        if let Some(given) = self.given.take() {
            given.take_back().await;
        }
        Ok(())
    }
}

/// Writes the head of the store.
pub(super) async fn put_head(
    connection: &mut SqliteConnection,
    key: &PolicyKey,
    head: &Head,
) -> Result<(), StoreUnavailable> {
    let sealed = key
        .seal_head(head)
        .map_err(|_| StoreUnavailable::new("no randomness"))?;
    sqlx::query("UPDATE state SET revision = ?, client_revision = ?, head = ? WHERE id = 1")
        .bind(head.revision)
        .bind(head.directory_revision)
        .bind(sealed)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
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
