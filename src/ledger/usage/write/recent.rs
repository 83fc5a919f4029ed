//! The table of uses and refusals that are kept one by one.

use sqlx::sqlite::SqliteConnection;

use super::bounds;
use crate::ledger::format::event;
use crate::ledger::format::record_ref::RecordRef;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::usage::known::signed;
use crate::ledger::usage::tally::{End, Outcome, Tally};

/// Adds the last lines of a batch, no more than the tables have room for.
pub(super) async fn add(connection: &mut SqliteConnection, tally: &Tally) -> sqlx::Result<()> {
    let room = bounds::recent(connection).await?;
    for (owner, slug, lines) in tally.recent() {
        let older = lines.len().saturating_sub(room);
        // They were read before, so they can be read.
        let lines = lines.iter().skip(older);
        let uses = lines.filter_map(|line| RecordRef::parse(line).ok());
        for used in uses {
            let end = used.request.as_deref().and_then(|id| tally.end(id));
            insert(connection, owner, slug, &used, end).await?;
        }
    }
    Ok(())
}

/// Says how a request of an earlier batch ended.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    request: &str,
    end: &End,
) -> sqlx::Result<()> {
    let query = "UPDATE recent SET outcome = ?, duration_ms = ? WHERE request = ? AND refused = 0";
    sqlx::query(query)
        .bind(end.outcome.text())
        .bind(end.duration_ms.map(signed))
        .bind(request)
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert(
    connection: &mut SqliteConnection,
    owner: &str,
    slug: &str,
    used: &RecordRef<'_>,
    end: Option<&End>,
) -> sqlx::Result<()> {
    let Ok(time) = used.time.parse::<Timestamp>() else {
        return Ok(());
    };
    let refused = used.event == event::DENIED;
    let code = used.code.as_deref().unwrap_or_default();
    let outcome = if refused {
        Some(Outcome::Word(code.to_owned()))
    } else {
        end.map(|end| end.outcome.clone())
    };
    let duration = end.and_then(|end| end.duration_ms);
    let places: Vec<_> = used.locations.iter().map(|place| &**place).collect();
    let first: Vec<_> = used.first.iter().flatten().map(|what| &**what).collect();
    let query = "INSERT OR REPLACE INTO recent
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(query)
        .bind(owner)
        .bind(slug)
        .bind(signed(used.seq))
        .bind(time.unix_micros())
        .bind(refused)
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
        .bind(places.join(" "))
        .bind(outcome.as_ref().map(Outcome::text))
        .bind(duration.filter(|_| !refused).map(signed))
        .bind(first.join(" "))
        .execute(connection)
        .await?;
    Ok(())
}
