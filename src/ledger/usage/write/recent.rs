//! The table of uses and refusals that are kept one by one.

use std::sync::LazyLock;

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

use super::bounds;
use crate::ledger::format::event;
use crate::ledger::format::record_ref::RecordRef;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::usage::known::signed;
use crate::ledger::usage::tally::{End, Outcome, Tally};

/// Rows that one statement adds at most.
const MOST_ROWS: usize = 64;

/// Columns of the table.
const COLUMNS: usize = 19;

/// Statements that add so many rows. Each statement goes to the thread of the database and comes back, which
/// takes longer than to add a row. The counts are few, so that each statement is prepared once.
static STATEMENTS: LazyLock<[(usize, String); 3]> =
    LazyLock::new(|| [MOST_ROWS, 8, 1].map(|rows| (rows, statement(rows))));

fn statement(rows: usize) -> String {
    let row = format!("({})", ["?"; COLUMNS].join(", "));
    let rows = vec![row; rows].join(", ");
    format!("INSERT OR REPLACE INTO recent VALUES {rows}")
}

type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Adds the last lines of a batch, no more than the tables have room for.
pub(super) async fn add(connection: &mut SqliteConnection, tally: &Tally) -> sqlx::Result<()> {
    let room = bounds::recent(connection).await?;
    for (owner, slug, lines) in tally.recent() {
        let older = lines.len().saturating_sub(room);
        // They were read before, so they can be read.
        let lines = lines.iter().skip(older);
        let mut rows = lines.filter_map(|line| {
            let used = RecordRef::parse(line).ok()?;
            let time = used.time.parse().ok()?;
            let end = used.request.as_deref().and_then(|id| tally.end(id));
            Some((used, end, time))
        });
        // No more of them are read at once than one statement takes.
        loop {
            let some: Vec<Row<'_>> = rows.by_ref().take(MOST_ROWS).collect();
            if some.is_empty() {
                break;
            }
            insert(connection, (owner, slug), &some).await?;
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

/// A use or refusal that was read, how its request ended, and when it was.
type Row<'l> = (RecordRef<'l>, Option<&'l End>, Timestamp);

async fn insert(
    connection: &mut SqliteConnection,
    (owner, slug): (&str, &str),
    rows: &[Row<'_>],
) -> sqlx::Result<()> {
    let mut rest = rows;
    for (count, statement) in &*STATEMENTS {
        while let Some((now, later)) = rest.split_at_checked(*count) {
            let query = sqlx::query(statement.as_str());
            let bound = now
                .iter()
                .fold(query, |query, row| bind(query, (owner, slug), row));
            bound.execute(&mut *connection).await?;
            rest = later;
        }
    }
    Ok(())
}

fn bind<'q>(
    query: SqliteQuery<'q>,
    (owner, slug): (&'q str, &'q str),
    (used, end, time): &'q Row<'_>,
) -> SqliteQuery<'q> {
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
    query
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
}
