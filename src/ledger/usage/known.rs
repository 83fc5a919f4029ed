//! Which lines the index knows.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::position::Position;

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The last line known; `None` while there is none.
pub(super) async fn position(connection: &mut SqliteConnection) -> sqlx::Result<Option<Position>> {
    let query = "SELECT file, begin_at, end_at, hash, seq, first FROM position WHERE id = 1";
    let Some(row) = sqlx::query(query).fetch_optional(connection).await? else {
        return Ok(None);
    };
    let number = |at: usize| {
        let number: i64 = row.try_get(at)?;
        u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
    };
    let hash: String = row.try_get(3)?;
    Ok(Some(Position {
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
pub(super) async fn set_position(
    connection: &mut SqliteConnection,
    place: &Position,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO position (id, file, begin_at, end_at, hash, seq, first)
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

/// Remembers lines that are not there.
pub(super) async fn add_missing(
    connection: &mut SqliteConnection,
    lines: &RangeInclusive<u64>,
) -> sqlx::Result<()> {
    sqlx::query("INSERT OR REPLACE INTO missing VALUES (?, ?)")
        .bind(signed(*lines.start()))
        .bind(signed(*lines.end()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a file that begins with the line `first` has lines that were not there before.
pub(super) async fn is_returned(
    connection: &mut SqliteConnection,
    first: u64,
) -> sqlx::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM missing WHERE ?1 BETWEEN from_seq AND to_seq)
        OR EXISTS (SELECT 1 FROM position WHERE first > ?1)";
    let query = sqlx::query_scalar(query).bind(signed(first));
    query.fetch_one(connection).await
}

/// Forgets everything.
pub(super) async fn clear(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let tables =
        "DELETE FROM position; DELETE FROM missing; DELETE FROM credential; DELETE FROM action;
        DELETE FROM version; DELETE FROM outcome; DELETE FROM hour; DELETE FROM client;
        DELETE FROM unfinished; DELETE FROM recent;";
    sqlx::raw_sql(tables).execute(connection).await?;
    Ok(())
}

/// Requests that had not ended with the last line known.
pub(super) async fn unfinished(connection: &mut SqliteConnection) -> sqlx::Result<HashSet<String>> {
    let rows = sqlx::query_scalar("SELECT DISTINCT request FROM unfinished");
    let known: Vec<String> = rows.fetch_all(connection).await?;
    Ok(known.into_iter().collect())
}
