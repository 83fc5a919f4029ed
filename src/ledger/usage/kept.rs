//! How far back the index goes, and what it still knows of the time before.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::hours::HOUR;
use crate::ledger::format::timestamp::Timestamp;

/// From when on something is kept of a credential; `None` where all of it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptSince {
    /// Uses and refusals by hour.
    pub hours: Option<Timestamp>,
    /// Uses and refusals one by one.
    pub lines: Option<Timestamp>,
}

/// How far back the tables with a bound go, beside what the sums know.
pub(super) async fn since(
    connection: &mut SqliteConnection,
    (owner, slug): (&str, &str),
) -> sqlx::Result<KeptSince> {
    let query = "SELECT (SELECT min(first_seen) FROM action WHERE owner = ?1 AND slug = ?2),
        (SELECT min(hour) FROM hour WHERE owner = ?1 AND slug = ?2),
        (SELECT time FROM recent WHERE owner = ?1 AND slug = ?2 ORDER BY seq LIMIT 1)";
    let query = sqlx::query(query).bind(owner).bind(slug);
    let row = query.fetch_one(connection).await?;
    let first: Option<i64> = row.try_get(0)?;
    let hour: Option<i64> = row.try_get(1)?;
    let line: Option<i64> = row.try_get(2)?;
    let later = |kept: Option<i64>| kept.filter(|&kept| first.is_some_and(|first| first < kept));
    Ok(KeptSince {
        hours: later(hour.map(|hour| hour.saturating_mul(HOUR))).map(Timestamp::from_unix_micros),
        lines: later(line).map(Timestamp::from_unix_micros),
    })
}

/// The actions that used it since a time, the last first, each with its last use.
pub(super) async fn actions_since(
    connection: &mut SqliteConnection,
    (owner, slug): (&str, &str),
    since: Timestamp,
    limit: u32,
) -> sqlx::Result<Vec<(String, Timestamp)>> {
    let query = "SELECT action, last_used FROM action
        WHERE owner = ?1 AND slug = ?2 AND last_seen >= ?3 AND last_used >= ?3
        ORDER BY last_used DESC LIMIT ?4";
    let query = sqlx::query(query)
        .bind(owner)
        .bind(slug)
        .bind(since.unix_micros())
        .bind(limit);
    let rows = query.fetch_all(connection).await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let last = Timestamp::from_unix_micros(row.try_get(1)?);
        Ok((row.try_get(0)?, last))
    };
    rows.iter().map(read).collect()
}
