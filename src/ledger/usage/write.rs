//! Adding to the tables.

use std::collections::{HashSet, VecDeque};

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::position::Place;
use super::tally::{Counts, Key, Outcome, RECENT, Tally};
use crate::ledger::format::record_ref::RecordRef;
use crate::ledger::format::timestamp::Timestamp;

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The last line known; `None` while there is none.
pub(super) async fn place(connection: &mut SqliteConnection) -> sqlx::Result<Option<Place>> {
    let query = "SELECT file, begin_at, end_at, hash, seq, first FROM place WHERE id = 1";
    let Some(row) = sqlx::query(query).fetch_optional(connection).await? else {
        return Ok(None);
    };
    let number = |at: usize| {
        let number: i64 = row.try_get(at)?;
        u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
    };
    let hash: String = row.try_get(3)?;
    Ok(Some(Place {
        file: number(0)?,
        begin: number(1)?,
        end: number(2)?,
        hash: hash
            .parse()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        seq: number(4)?,
        first: number(5)?,
    }))
}

/// Remembers the last line known.
pub(super) async fn set_place(
    connection: &mut SqliteConnection,
    place: &Place,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO place (id, file, begin_at, end_at, hash, seq, first)
         VALUES (1, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET file = excluded.file, begin_at = excluded.begin_at,
             end_at = excluded.end_at, hash = excluded.hash, seq = excluded.seq",
    )
    .bind(signed(place.file))
    .bind(signed(place.begin))
    .bind(signed(place.end))
    .bind(place.hash.to_string())
    .bind(signed(place.seq))
    .bind(signed(place.first))
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets everything.
pub(super) async fn clear(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let tables = "DELETE FROM place; DELETE FROM credential; DELETE FROM action;
        DELETE FROM version; DELETE FROM outcome; DELETE FROM unfinished; DELETE FROM recent;";
    sqlx::raw_sql(tables).execute(connection).await?;
    Ok(())
}

/// Requests that had not ended with the last line known.
pub(super) async fn unfinished(connection: &mut SqliteConnection) -> sqlx::Result<HashSet<String>> {
    let rows = sqlx::query_scalar("SELECT DISTINCT request FROM unfinished");
    let known: Vec<String> = rows.fetch_all(connection).await?;
    Ok(known.into_iter().collect())
}

/// Adds a batch.
pub(super) async fn tally(connection: &mut SqliteConnection, tally: &Tally) -> sqlx::Result<()> {
    for (key, counts) in &tally.counts {
        add_counts(connection, key, counts).await?;
    }
    for (owner, slug, lines) in tally.recent() {
        recent(connection, tally, (owner, slug), lines).await?;
    }
    for (request, outcome) in &tally.finished {
        finished(connection, tally, request, &outcome.text()).await?;
    }
    for (request, places) in tally.unfinished() {
        for at in places {
            let Key {
                owner,
                slug,
                action,
            } = &tally.counts[at].0;
            sqlx::query("INSERT OR IGNORE INTO unfinished VALUES (?, ?, ?, ?)")
                .bind(request)
                .bind(owner)
                .bind(slug)
                .bind(action)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

async fn add_counts(
    connection: &mut SqliteConnection,
    key: &Key,
    counts: &Counts,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO credential VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET uses = uses + excluded.uses,
             denied = denied + excluded.denied,
             last_used = max(ifnull(last_used, excluded.last_used),
                             ifnull(excluded.last_used, last_used))",
    )
    .bind(&key.owner)
    .bind(&key.slug)
    .bind(counts.uses)
    .bind(counts.denied)
    .bind(counts.last_used)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO action VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET uses = uses + excluded.uses,
             denied = denied + excluded.denied,
             first_seen = min(first_seen, excluded.first_seen),
             last_seen = max(last_seen, excluded.last_seen),
             last_used = max(ifnull(last_used, excluded.last_used),
                             ifnull(excluded.last_used, last_used))",
    )
    .bind(&key.owner)
    .bind(&key.slug)
    .bind(&key.action)
    .bind(counts.uses)
    .bind(counts.denied)
    .bind(counts.first_seen)
    .bind(counts.last_seen)
    .bind(counts.last_used)
    .execute(&mut *connection)
    .await?;
    for (version, uses) in &counts.versions {
        sqlx::query(
            "INSERT INTO version VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET uses = uses + excluded.uses",
        )
        .bind(&key.owner)
        .bind(&key.slug)
        .bind(&key.action)
        .bind(version)
        .bind(uses)
        .execute(&mut *connection)
        .await?;
    }
    for (outcome, requests) in &counts.outcomes {
        add_outcome(connection, key, &outcome.text(), *requests).await?;
    }
    Ok(())
}

async fn add_outcome(
    connection: &mut SqliteConnection,
    key: &Key,
    outcome: &str,
    requests: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO outcome VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET requests = requests + excluded.requests",
    )
    .bind(&key.owner)
    .bind(&key.slug)
    .bind(&key.action)
    .bind(outcome)
    .bind(requests)
    .execute(connection)
    .await?;
    Ok(())
}

/// A request that ended now and began in an earlier batch. What it used in this one too, was counted
/// with it.
async fn finished(
    connection: &mut SqliteConnection,
    tally: &Tally,
    request: &str,
    outcome: &str,
) -> sqlx::Result<()> {
    let gone = "DELETE FROM unfinished WHERE request = ? RETURNING owner, slug, action";
    let rows = sqlx::query(gone)
        .bind(request)
        .fetch_all(&mut *connection)
        .await?;
    for row in rows {
        let key = Key {
            owner: row.try_get(0)?,
            slug: row.try_get(1)?,
            action: row.try_get(2)?,
        };
        if !tally.has_used(request, &key) {
            add_outcome(connection, &key, outcome, 1).await?;
        }
    }
    sqlx::query("UPDATE recent SET outcome = ? WHERE request = ?")
        .bind(outcome)
        .bind(request)
        .execute(connection)
        .await?;
    Ok(())
}

async fn recent(
    connection: &mut SqliteConnection,
    tally: &Tally,
    (owner, slug): (&str, &str),
    lines: &VecDeque<Vec<u8>>,
) -> sqlx::Result<()> {
    // They were read before, so they can be read.
    let uses = lines.iter().filter_map(|line| RecordRef::parse(line).ok());
    for used in uses {
        let outcome = used.request.as_deref().and_then(|id| tally.outcome(id));
        insert_recent(connection, owner, slug, &used, outcome).await?;
    }
    sqlx::query(
        "DELETE FROM recent WHERE owner = ?1 AND slug = ?2 AND seq <=
             (SELECT seq FROM recent WHERE owner = ?1 AND slug = ?2
              ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
    )
    .bind(owner)
    .bind(slug)
    .bind(i64::try_from(RECENT).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_recent(
    connection: &mut SqliteConnection,
    owner: &str,
    slug: &str,
    used: &RecordRef<'_>,
    outcome: Option<&Outcome>,
) -> sqlx::Result<()> {
    let Ok(time) = used.time.parse::<Timestamp>() else {
        return Ok(());
    };
    sqlx::query(
        "INSERT OR REPLACE INTO recent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(owner)
    .bind(slug)
    .bind(signed(used.seq))
    .bind(time.unix_micros())
    .bind(used.request.as_deref())
    .bind(used.field.as_deref())
    .bind(used.version)
    .bind(used.principal.as_deref())
    .bind(used.client.as_deref())
    .bind(used.action.as_deref())
    .bind(used.run.as_deref())
    .bind(used.method.as_deref())
    .bind(used.destination.as_deref())
    .bind(used.path.as_deref())
    .bind(outcome.map(Outcome::text))
    .execute(connection)
    .await?;
    Ok(())
}
