//! Adding to the tables.

use std::collections::HashSet;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::place::Place;
use super::tally::{Key, RECENT, Recent, Tally};

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

/// Adds a batch.
pub(super) async fn tally(connection: &mut SqliteConnection, mut tally: Tally) -> sqlx::Result<()> {
    tally.settle();
    counts(connection, &tally).await?;
    recent(connection, &tally).await?;
    finished(connection, &tally).await?;
    for (request, places) in &tally.unfinished {
        for &at in places {
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

async fn counts(connection: &mut SqliteConnection, tally: &Tally) -> sqlx::Result<()> {
    for (key, counts) in &tally.counts {
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
    }
    for (&(at, version), &uses) in &tally.versions {
        let Key {
            owner,
            slug,
            action,
        } = &tally.counts[at].0;
        sqlx::query(
            "INSERT INTO version VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET uses = uses + excluded.uses",
        )
        .bind(owner)
        .bind(slug)
        .bind(action)
        .bind(version)
        .bind(uses)
        .execute(&mut *connection)
        .await?;
    }
    for ((at, outcome), &requests) in &tally.outcomes {
        add_outcome(connection, &tally.counts[*at].0, outcome, requests).await?;
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

/// Requests that ended now and began in an earlier batch. Those are few, and asking the database
/// about each of the others would take longer than all the rest.
async fn finished(connection: &mut SqliteConnection, tally: &Tally) -> sqlx::Result<()> {
    let rows = sqlx::query_scalar("SELECT DISTINCT request FROM unfinished");
    let known: Vec<String> = rows.fetch_all(&mut *connection).await?;
    let known: HashSet<&str> = known.iter().map(String::as_str).collect();
    let finished = tally.finished.iter();
    for (request, outcome) in finished.filter(|(request, _)| known.contains(request.as_str())) {
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
            add_outcome(connection, &key, outcome, 1).await?;
        }
        sqlx::query("UPDATE recent SET outcome = ? WHERE request = ?")
            .bind(outcome)
            .bind(request)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn recent(connection: &mut SqliteConnection, tally: &Tally) -> sqlx::Result<()> {
    for ((owner, slug), uses) in &tally.recent {
        for used in uses {
            insert_recent(connection, owner, slug, used).await?;
        }
        sqlx::query(
            "DELETE FROM recent WHERE owner = ?1 AND slug = ?2 AND seq <=
                 (SELECT seq FROM recent WHERE owner = ?1 AND slug = ?2
                  ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
        )
        .bind(owner)
        .bind(slug)
        .bind(i64::try_from(RECENT).unwrap_or(i64::MAX))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn insert_recent(
    connection: &mut SqliteConnection,
    owner: &str,
    slug: &str,
    used: &Recent,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT OR REPLACE INTO recent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(owner)
    .bind(slug)
    .bind(used.seq)
    .bind(used.time)
    .bind(&used.request)
    .bind(&used.field)
    .bind(used.version)
    .bind(&used.principal)
    .bind(&used.client)
    .bind(&used.action)
    .bind(&used.run)
    .bind(&used.method)
    .bind(&used.destination)
    .bind(&used.path)
    .bind(&used.outcome)
    .execute(connection)
    .await?;
    Ok(())
}
