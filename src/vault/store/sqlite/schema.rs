//! The tables, and the migrations of an older file.

use sqlx::{Row, SqliteConnection};

use crate::vault::store::error::StoreUnavailable;

/// One entry for each version of the schema, in order. Entries are appended and never changed.
///
/// Since version 2 there is one table for all that is not a value: `objects`, whose texts are
/// authenticated (see [`crate::vault::policy_key`]). `due` repeats what a text says, so that what is
/// due can be found; only the text counts.
const MIGRATIONS: [&str; 8] = [
    "
    CREATE TABLE state (
        id              INTEGER PRIMARY KEY CHECK (id = 1),
        revision        INTEGER NOT NULL,
        client_revision INTEGER NOT NULL,
        key_id          BLOB,
        probes          INTEGER NOT NULL
    ) STRICT;
    INSERT INTO state (id, revision, client_revision, key_id, probes) VALUES (1, 0, 0, NULL, 0);

    CREATE TABLE credentials (
        owner       TEXT NOT NULL,
        slug        TEXT NOT NULL,
        kind        TEXT NOT NULL,
        description TEXT NOT NULL,
        allowed     TEXT NOT NULL,
        revoked     INTEGER NOT NULL,
        version     INTEGER NOT NULL,
        created     INTEGER NOT NULL,
        rotated     INTEGER NOT NULL,
        deleted     INTEGER NOT NULL,
        revision    INTEGER NOT NULL,
        PRIMARY KEY (owner, slug)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX credentials_by_revision ON credentials (revision);

    CREATE TABLE sealed_values (
        owner   TEXT NOT NULL,
        slug    TEXT NOT NULL,
        version INTEGER NOT NULL,
        field   TEXT NOT NULL,
        sealed  BLOB NOT NULL,
        PRIMARY KEY (owner, slug, version, field),
        FOREIGN KEY (owner, slug) REFERENCES credentials (owner, slug)
    ) STRICT;

    CREATE TABLE shares (
        owner     TEXT NOT NULL,
        slug      TEXT NOT NULL,
        principal TEXT NOT NULL,
        PRIMARY KEY (owner, slug, principal),
        FOREIGN KEY (owner, slug) REFERENCES credentials (owner, slug)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE clients (
        name       TEXT PRIMARY KEY,
        principal  TEXT NOT NULL,
        token_hash BLOB NOT NULL UNIQUE,
        created    INTEGER NOT NULL,
        expires    INTEGER,
        enrolment  INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE outbox (
        id        INTEGER PRIMARY KEY AUTOINCREMENT,
        time      INTEGER NOT NULL,
        event     TEXT NOT NULL,
        slug      TEXT,
        field     TEXT,
        version   INTEGER,
        owner     TEXT,
        principal TEXT,
        client    TEXT,
        actor     TEXT NOT NULL,
        detail    TEXT NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE objects (
        kind     TEXT NOT NULL,
        id       TEXT NOT NULL,
        revision INTEGER NOT NULL,
        due      INTEGER,
        document TEXT NOT NULL,
        tag      BLOB NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX objects_by_revision ON objects (kind, revision);
    CREATE INDEX objects_by_due ON objects (kind, due) WHERE due IS NOT NULL;
    ALTER TABLE state ADD COLUMN head BLOB;
    ALTER TABLE outbox ADD COLUMN revision INTEGER;

    ALTER TABLE sealed_values RENAME TO sealed_values_1;
    CREATE TABLE sealed_values (
        owner   TEXT NOT NULL,
        slug    TEXT NOT NULL,
        version INTEGER NOT NULL,
        field   TEXT NOT NULL,
        sealed  BLOB NOT NULL,
        PRIMARY KEY (owner, slug, version, field)
    ) STRICT;
    INSERT INTO sealed_values SELECT * FROM sealed_values_1;
    DROP TABLE sealed_values_1;
",
    "
    CREATE TABLE sessions (
        id       TEXT PRIMARY KEY,
        user     TEXT NOT NULL,
        ends     INTEGER NOT NULL,
        document TEXT NOT NULL,
        tag      BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_by_user ON sessions (user, ends);
    CREATE INDEX sessions_by_end ON sessions (ends);

    CREATE TABLE token_uses (
        id   TEXT PRIMARY KEY,
        used INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    // What clients may do, and ask for, are objects. An Egret that does not know them would not hold
    // them, and refuses the store.
    "SELECT 1;",
    // A credential may be attached to requests, which an Egret that does not know it would leave out.
    "SELECT 1;",
    // A text may mean a credential, which an Egret that does not know it would send as it is.
    "SELECT 1;",
    // Events are authenticated, too.
    "ALTER TABLE outbox ADD COLUMN tag BLOB;",
    // JWTs of issuers may be revoked, which an Egret that does not know it would accept.
    "SELECT 1;",
];

/// The first version whose rows are authenticated.
pub(super) const AUTHENTICATED: i64 = 2;

/// The first version whose events are authenticated.
pub(super) const AUTHENTICATED_EVENTS: i64 = 7;

/// The version of the schema that this program reads and writes.
pub(super) const CURRENT: i64 = MIGRATIONS.len() as i64;

/// Brings the tables to the current version, in a transaction of the caller's, and returns the
/// version that was found. 0 is a new file.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    now: i64,
) -> Result<i64, StoreUnavailable> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT",
    )
    .execute(&mut *connection)
    .await?;
    let found = version(connection).await?;
    if found > CURRENT {
        return Err(too_new(found));
    }
    for (migration, number) in MIGRATIONS.into_iter().zip(1..).skip(found as usize) {
        sqlx::raw_sql(migration).execute(&mut *connection).await?;
        sqlx::query("INSERT INTO migrations (version, applied) VALUES (?, ?)")
            .bind(number as i64)
            .bind(now)
            .execute(&mut *connection)
            .await?;
    }
    Ok(found)
}

/// Drops the tables whose rows are objects now.
pub(super) async fn drop_unauthenticated(
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("DROP TABLE shares; DROP TABLE clients; DROP TABLE credentials;")
        .execute(connection)
        .await?;
    Ok(())
}

/// The version of the tables; 0 without any.
pub(super) async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let exists = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'")
        .fetch_optional(&mut *connection)
        .await?;
    if exists.is_none() {
        return Ok(0);
    }
    sqlx::query("SELECT coalesce(max(version), 0) FROM migrations")
        .fetch_one(connection)
        .await?
        .try_get(0)
}

/// For a store of a later version, whose tables may have another meaning.
pub(super) fn too_new(found: i64) -> StoreUnavailable {
    StoreUnavailable::new(format!(
        "the store has schema {found}, this version of Egret knows {CURRENT}; use the newer Egret that upgraded it"
    ))
}
