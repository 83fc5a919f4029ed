//! The tables, and the migrations of an older file.

use sqlx::{Row, SqliteConnection};

use crate::vault::store::error::StoreUnavailable;

/// One entry for each version of the schema, in order. Entries are appended and never changed.
///
/// `credentials` keeps the row of a deleted credential (`deleted = 1`, everything but name and
/// version emptied). Running servers learn from it that the credential is deleted, and a credential
/// that is added again continues its version numbers, so that a version in the ledger always means
/// one value.
const MIGRATIONS: [&str; 1] = ["
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
"];

/// The version of the schema that this program reads and writes.
pub(super) const CURRENT: i64 = MIGRATIONS.len() as i64;

/// Migrates the tables. Of several processes the first one does it.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    now: i64,
) -> Result<(), StoreUnavailable> {
    use sqlx::Connection;

    // Most starts have nothing to migrate, and take no write lock to find out.
    if version(connection).await? == CURRENT {
        return Ok(());
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT",
    )
    .execute(&mut *transaction)
    .await?;
    let found = version(&mut transaction).await?;
    if found > CURRENT {
        return Err(too_new(found));
    }
    for (migration, number) in MIGRATIONS.into_iter().zip(1..).skip(found as usize) {
        sqlx::raw_sql(migration).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO migrations (version, applied) VALUES (?, ?)")
            .bind(number as i64)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
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
