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
    let query = "SELECT (SELECT min(hour) FROM hour WHERE owner = ?1 AND slug = ?2),
        (SELECT time FROM recent WHERE owner = ?1 AND slug = ?2 ORDER BY seq LIMIT 1)";
    let query = sqlx::query(query).bind(owner).bind(slug);
    let row = query.fetch_one(&mut *connection).await?;
    let hour: Option<i64> = row.try_get(0)?;
    let kept = [hour.map(|hour| hour.saturating_mul(HOUR)), row.try_get(1)?];
    let mut later = [None; 2];
    for (later, kept) in later.iter_mut().zip(kept) {
        if let Some(kept) = kept
            && is_seen_before(connection, (owner, slug), kept).await?
        {
            *later = Some(Timestamp::from_unix_micros(kept));
        }
    }
    let [hours, lines] = later;
    Ok(KeptSince { hours, lines })
}

/// Whether an action had to do with it before `time`. Those that were seen last before come first, so that
/// of any number of actions only those that were seen since are looked at.
async fn is_seen_before(
    connection: &mut SqliteConnection,
    (owner, slug): (&str, &str),
    time: i64,
) -> sqlx::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM action INDEXED BY action_by_time
        WHERE owner = ? AND slug = ? AND last_seen < ?)
        OR EXISTS (SELECT 1 FROM action WHERE owner = ? AND slug = ? AND first_seen < ?)";
    sqlx::query_scalar(query)
        .bind(owner)
        .bind(slug)
        .bind(time)
        .bind(owner)
        .bind(slug)
        .bind(time)
        .fetch_one(connection)
        .await
}

/// The actions that used it since a time, the last first, each with its last use. Where there are more,
/// those are left out that were seen longest ago, so that no more are read than `limit`.
pub(super) async fn actions_since(
    connection: &mut SqliteConnection,
    (owner, slug): (&str, &str),
    since: Timestamp,
    limit: u32,
) -> sqlx::Result<Vec<(String, Timestamp)>> {
    let query = "SELECT action, last_used FROM action
        WHERE owner = ?1 AND slug = ?2 AND last_seen >= ?3 AND last_used >= ?3
        ORDER BY last_seen DESC LIMIT ?4";
    let query = sqlx::query(query)
        .bind(owner)
        .bind(slug)
        .bind(since.unix_micros())
        .bind(limit);
    let rows = query.fetch_all(connection).await?;
    let mut actions = Vec::new();
    for row in rows {
        let last = Timestamp::from_unix_micros(row.try_get(1)?);
        actions.push((row.try_get(0)?, last));
    }
    actions.sort_by_key(|&(_, last)| std::cmp::Reverse(last));
    Ok(actions)
}
