//! How large the tables may become.
//!
//! Clients name actions and choose destinations, so nothing that is kept of each may grow without a
//! bound. All credentials share a fixed room: the more there are, the less is kept of each. What does
//! not fit is still counted in the sums, and still is in the ledger.

use std::collections::HashSet;

use sqlx::sqlite::SqliteConnection;

use crate::ledger::usage::tally::{MOST_RECENT, Tally};

/// Uses and refusals of all credentials that are kept one by one, and the least of each.
const RECENT_ROOM: usize = 500_000;
const LEAST_RECENT: usize = 100;

/// Rows of hours of all credentials, and the least and the most of each.
const HOUR_ROOM: usize = 500_000;
const LEAST_HOURS: usize = 200;
const MOST_HOURS: usize = 20_000;

/// How many lines are kept of a credential.
pub(super) async fn recent(connection: &mut SqliteConnection) -> sqlx::Result<usize> {
    let credentials = credentials(connection).await?;
    Ok((RECENT_ROOM / credentials).clamp(LEAST_RECENT, MOST_RECENT))
}

async fn credentials(connection: &mut SqliteConnection) -> sqlx::Result<usize> {
    let query = sqlx::query_scalar("SELECT count(*) FROM credential");
    let count: i64 = query.fetch_one(connection).await?;
    Ok(usize::try_from(count).unwrap_or(0).max(1))
}

/// Drops what is over, of the credentials that a batch added to. An hour is dropped as a whole, so that
/// each that is left is complete; the last one stays.
pub(super) async fn keep(connection: &mut SqliteConnection, tally: &Tally) -> sqlx::Result<()> {
    let credentials = credentials(connection).await?;
    let lines = (RECENT_ROOM / credentials).clamp(LEAST_RECENT, MOST_RECENT);
    let hours = (HOUR_ROOM / credentials).clamp(LEAST_HOURS, MOST_HOURS);
    let named = tally.counts.iter().map(|(key, _)| (&key.owner, &key.slug));
    let recent = "DELETE FROM recent WHERE owner = ?1 AND slug = ?2 AND seq <=
        (SELECT seq FROM recent WHERE owner = ?1 AND slug = ?2
         ORDER BY seq DESC LIMIT 1 OFFSET ?3)";
    let hour = "DELETE FROM hour WHERE owner = ?1 AND slug = ?2 AND hour <
        (SELECT hour FROM hour WHERE owner = ?1 AND slug = ?2
         ORDER BY hour DESC LIMIT 1 OFFSET ?3)";
    for (owner, slug) in named.collect::<HashSet<_>>() {
        for (query, room) in [(recent, lines), (hour, hours)] {
            sqlx::query(query)
                .bind(owner)
                .bind(slug)
                .bind(i64::try_from(room).unwrap_or(i64::MAX))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}
