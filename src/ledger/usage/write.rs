//! Adding a batch to the tables.

mod bounds;
mod hours;
mod recent;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::hours::Cell;
use super::tally::{ClientCounts, Counts, End, Key, OpenUses, Tally};

/// Adds a batch.
pub(super) async fn tally(connection: &mut SqliteConnection, tally: &Tally) -> sqlx::Result<()> {
    for (key, counts) in &tally.counts {
        add_counts(connection, key, counts).await?;
    }
    for (owner, slug) in &tally.named {
        sqlx::query("INSERT OR IGNORE INTO credential VALUES (?, ?, 0, 0, NULL, NULL, NULL)")
            .bind(owner)
            .bind(slug)
            .execute(&mut *connection)
            .await?;
    }
    for ((owner, slug), rejected) in &tally.health {
        let (time, version) = rejected.unzip();
        let query = "UPDATE credential SET rejected = ?, rejected_version = ?
            WHERE owner = ? AND slug = ?";
        sqlx::query(query)
            .bind(time)
            .bind(version)
            .bind(owner)
            .bind(slug)
            .execute(&mut *connection)
            .await?;
    }
    for (key, cell, ends) in tally.hours() {
        hours::add(connection, key, cell, ends).await?;
    }
    for (principal, client, counts) in tally.clients() {
        add_client(connection, (principal, client), counts).await?;
    }
    recent::add(connection, tally).await?;
    for (request, end) in &tally.finished {
        finished(connection, tally, request, end).await?;
    }
    for open in tally.unfinished() {
        unfinished(connection, &open).await?;
    }
    bounds::keep(connection, tally).await
}

async fn add_counts(
    connection: &mut SqliteConnection,
    key: &Key,
    counts: &Counts,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO credential VALUES (?, ?, ?, ?, ?, NULL, NULL)
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

async fn add_client(
    connection: &mut SqliteConnection,
    (principal, client): (&str, &str),
    counts: &ClientCounts,
) -> sqlx::Result<()> {
    let query = "INSERT INTO client VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET uses = uses + excluded.uses, refused = refused + excluded.refused,
            last_action = iif(excluded.last_seen >= last_seen, excluded.last_action, last_action),
            last_seen = max(last_seen, excluded.last_seen)";
    sqlx::query(query)
        .bind(principal)
        .bind(client)
        .bind(counts.uses)
        .bind(counts.refused)
        .bind(counts.last_seen)
        .bind(&counts.last_action)
        .execute(connection)
        .await?;
    Ok(())
}

async fn unfinished(connection: &mut SqliteConnection, open: &OpenUses<'_>) -> sqlx::Result<()> {
    let query = "INSERT INTO unfinished VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET uses = uses + excluded.uses";
    let (key, cell) = (open.key, open.cell);
    sqlx::query(query)
        .bind(open.request)
        .bind(&key.owner)
        .bind(&key.slug)
        .bind(&key.action)
        .bind(cell.hour)
        .bind(&cell.client)
        .bind(&cell.principal)
        .bind(&cell.destination)
        .bind(cell.version)
        .bind(open.uses)
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
    end: &End,
) -> sqlx::Result<()> {
    let gone = "DELETE FROM unfinished WHERE request = ?
        RETURNING owner, slug, action, hour, client, principal, destination, version, uses";
    let rows = sqlx::query(gone)
        .bind(request)
        .fetch_all(&mut *connection)
        .await?;
    let outcome = end.outcome.text();
    let mut counted: Vec<Key> = Vec::new();
    for row in rows {
        let key = Key {
            owner: row.try_get(0)?,
            slug: row.try_get(1)?,
            action: row.try_get(2)?,
        };
        let cell = Cell {
            at: 0,
            hour: row.try_get(3)?,
            client: row.try_get(4)?,
            principal: row.try_get(5)?,
            destination: row.try_get(6)?,
            version: row.try_get(7)?,
        };
        hours::end(connection, &key, &cell, &outcome, row.try_get(8)?).await?;
        if !tally.has_used(request, &key) && !counted.contains(&key) {
            add_outcome(connection, &key, &outcome, 1).await?;
            counted.push(key);
        }
    }
    recent::end(connection, request, end).await
}
