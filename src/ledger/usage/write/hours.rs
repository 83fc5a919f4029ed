//! The table of hours.

use sqlx::sqlite::SqliteConnection;

use crate::ledger::usage::hours::{Cell, Ends};
use crate::ledger::usage::tally::Key;

/// What a row has beside its cell.
struct Ended<'a> {
    refused: bool,
    /// Empty while there is no result.
    outcome: &'a str,
    lines: i64,
}

impl<'a> Ended<'a> {
    fn used(outcome: &'a str, lines: i64) -> Self {
        Self {
            refused: false,
            outcome,
            lines,
        }
    }

    fn refused(code: &'a str, lines: i64) -> Self {
        Self {
            refused: true,
            outcome: code,
            lines,
        }
    }
}

/// Adds what a batch counted.
pub(super) async fn add(
    connection: &mut SqliteConnection,
    key: &Key,
    cell: &Cell,
    ends: &Ends,
) -> sqlx::Result<()> {
    add_lines(connection, key, cell, Ended::used("", ends.open)).await?;
    for (outcome, lines) in &ends.ended {
        let outcome = outcome.text();
        add_lines(connection, key, cell, Ended::used(&outcome, *lines)).await?;
    }
    for (code, lines) in &ends.refused {
        let code = code.text();
        add_lines(connection, key, cell, Ended::refused(&code, *lines)).await?;
    }
    Ok(())
}

/// Counts uses of an earlier batch, which were open, under their outcome.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    key: &Key,
    cell: &Cell,
    outcome: &str,
    lines: i64,
) -> sqlx::Result<()> {
    add_lines(connection, key, cell, Ended::used("", -lines)).await?;
    let none_left = "DELETE FROM hour WHERE owner = ? AND slug = ? AND hour = ? AND action = ?
        AND outcome = '' AND lines <= 0";
    sqlx::query(none_left)
        .bind(&key.owner)
        .bind(&key.slug)
        .bind(cell.hour)
        .bind(&key.action)
        .execute(&mut *connection)
        .await?;
    add_lines(connection, key, cell, Ended::used(outcome, lines)).await
}

async fn add_lines(
    connection: &mut SqliteConnection,
    key: &Key,
    cell: &Cell,
    row: Ended<'_>,
) -> sqlx::Result<()> {
    if row.lines == 0 {
        return Ok(());
    }
    let query = "INSERT INTO hour VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET lines = lines + excluded.lines";
    sqlx::query(query)
        .bind(&key.owner)
        .bind(&key.slug)
        .bind(cell.hour)
        .bind(&key.action)
        .bind(&cell.client)
        .bind(&cell.principal)
        .bind(&cell.destination)
        .bind(cell.version)
        .bind(row.refused)
        .bind(row.outcome)
        .bind(row.lines)
        .execute(connection)
        .await?;
    Ok(())
}
