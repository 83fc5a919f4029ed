//! The file and its tables.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

/// The index, inside the ledger's directory.
pub const USAGE: &str = "usage.db";

/// Changes with the tables. An index of another version is made again.
const VERSION: i64 = 4;

/// How long one process waits for another one's batch.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the file of the write-ahead log is cut back to when the log begins again; a longer one is moved into
/// the database by the keeper of the index.
pub(super) const LONG_LOG: u64 = 8 << 20;

const TABLES: &str = "
CREATE TABLE position (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    file INTEGER NOT NULL, first INTEGER NOT NULL, seq INTEGER NOT NULL,
    begin_at INTEGER NOT NULL, end_at INTEGER NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE TABLE missing (
    from_seq INTEGER PRIMARY KEY, to_seq INTEGER NOT NULL
) STRICT;
CREATE TABLE credential (
    owner TEXT NOT NULL, slug TEXT NOT NULL,
    uses INTEGER NOT NULL, denied INTEGER NOT NULL, last_used INTEGER,
    rejected INTEGER, rejected_version INTEGER,
    PRIMARY KEY (owner, slug)
) STRICT, WITHOUT ROWID;
CREATE TABLE action (
    owner TEXT NOT NULL, slug TEXT NOT NULL, action TEXT NOT NULL,
    uses INTEGER NOT NULL, denied INTEGER NOT NULL,
    first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, last_used INTEGER,
    PRIMARY KEY (owner, slug, action)
) STRICT, WITHOUT ROWID;
CREATE INDEX action_by_time ON action (owner, slug, last_seen);
CREATE TABLE version (
    owner TEXT NOT NULL, slug TEXT NOT NULL, action TEXT NOT NULL, version INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (owner, slug, action, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE outcome (
    owner TEXT NOT NULL, slug TEXT NOT NULL, action TEXT NOT NULL, outcome TEXT NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (owner, slug, action, outcome)
) STRICT, WITHOUT ROWID;
CREATE TABLE hour (
    owner TEXT NOT NULL, slug TEXT NOT NULL, hour INTEGER NOT NULL, action TEXT NOT NULL,
    client TEXT NOT NULL, principal TEXT NOT NULL, destination TEXT NOT NULL,
    version INTEGER NOT NULL, refused INTEGER NOT NULL, outcome TEXT NOT NULL,
    lines INTEGER NOT NULL,
    PRIMARY KEY (owner, slug, hour, action, client, principal, destination, version, refused, outcome)
) STRICT, WITHOUT ROWID;
CREATE TABLE client (
    principal TEXT NOT NULL, client TEXT NOT NULL,
    uses INTEGER NOT NULL, refused INTEGER NOT NULL,
    last_seen INTEGER NOT NULL, last_action TEXT NOT NULL,
    PRIMARY KEY (principal, client)
) STRICT, WITHOUT ROWID;
CREATE TABLE unfinished (
    request TEXT NOT NULL, owner TEXT NOT NULL, slug TEXT NOT NULL, action TEXT NOT NULL,
    hour INTEGER NOT NULL, client TEXT NOT NULL, principal TEXT NOT NULL, destination TEXT NOT NULL,
    version INTEGER NOT NULL, uses INTEGER NOT NULL,
    PRIMARY KEY (request, owner, slug, action, hour, client, principal, destination, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX unfinished_by_credential ON unfinished (owner, slug, action);
CREATE TABLE recent (
    owner TEXT NOT NULL, slug TEXT NOT NULL, seq INTEGER NOT NULL, time INTEGER NOT NULL,
    refused INTEGER NOT NULL, request TEXT, field TEXT, version INTEGER, principal TEXT,
    client TEXT, action TEXT, run TEXT, method TEXT, destination TEXT, path TEXT, places TEXT,
    outcome TEXT, duration_ms INTEGER, first TEXT NOT NULL,
    PRIMARY KEY (owner, slug, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX recent_by_request ON recent (request);
";

/// Opens the index of the ledger in `dir`, with its tables.
pub(super) async fn open(dir: &Path) -> sqlx::Result<SqliteConnection> {
    let path = dir.join(USAGE);
    // SQLite would make it as the umask allows, and its companions with the mode of the file.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    file.map_err(sqlx::Error::Io)?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let mut connection = configure(options).connect().await?;
    make_tables(&mut connection).await?;
    Ok(connection)
}

/// For a connection that somebody waits for: bounds how long it waits for another one's batch, and leaves it
/// to others to move the write-ahead log into the database, which takes as long as the disk takes to sync.
pub(super) async fn serve_who_waits(
    connection: &mut SqliteConnection,
    wait: Duration,
) -> sqlx::Result<()> {
    let query = format!(
        "PRAGMA busy_timeout = {}; PRAGMA wal_autocheckpoint = 0",
        wait.as_millis()
    );
    // The number is ours.
    sqlx::raw_sql(sqlx::AssertSqlSafe(query))
        .execute(connection)
        .await?;
    Ok(())
}

/// An index that lasts as long as the process.
pub(super) async fn in_memory() -> sqlx::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().in_memory(true);
    let mut connection = configure(options).connect().await?;
    make_tables(&mut connection).await?;
    Ok(connection)
}

fn configure(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .pragma("journal_size_limit", LONG_LOG.to_string())
        .thread_name(|_| "egret-usage-db".to_owned())
        .disable_statement_logging()
}

/// Takes away an index that cannot be used.
pub(super) fn remove(dir: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        // What is not there need not go; what cannot go shows when it is opened again.
        let _ = fs::remove_file(dir.join(format!("{USAGE}{suffix}")));
    }
}

async fn make_tables(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    if version(connection).await? == VERSION {
        return Ok(());
    }
    let mut change = connection.begin_with("BEGIN IMMEDIATE").await?;
    match version(&mut change).await? {
        VERSION => {}
        0 => {
            sqlx::raw_sql(TABLES).execute(&mut *change).await?;
            sqlx::raw_sql("PRAGMA user_version = 4")
                .execute(&mut *change)
                .await?;
        }
        _ => {
            return Err(sqlx::Error::Protocol(
                "an index of another version".to_owned(),
            ));
        }
    }
    change.commit().await
}

async fn version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    let row = sqlx::query("PRAGMA user_version")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}
