//! What the lines of a credential can be filtered for.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteConnection;

use super::filtered::UsageFilter;
use crate::ledger::format::text::Text;

/// Values that are offered for each filter, those used most.
const MOST: usize = 50;

/// Rows that are looked at, the latest. More there are only within one hour, which is kept as a whole.
const ROWS: i64 = 50_000;

/// What the lines have under each filter, what is most frequent first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Choices {
    /// Actions.
    pub actions: Vec<String>,
    /// Clients.
    pub clients: Vec<String>,
    /// Users.
    pub principals: Vec<String>,
    /// Destinations.
    pub destinations: Vec<String>,
    /// Outcomes.
    pub outcomes: Vec<String>,
    /// Versions.
    pub versions: Vec<String>,
}

/// All rows as one text: to sort them for each column took most of the time of the page, and a row takes
/// longer from the thread of the database to here than to be read as JSON.
const READ: &str = "
    SELECT json_group_array(
        json_array(action, client, principal, destination, outcome, version, lines))
    FROM (SELECT action, client, principal, destination, outcome, version, lines FROM hour
        WHERE owner = ?1 AND slug = ?2 AND hour >= ?3 AND hour <= ?4
            AND (?5 IS NULL OR principal = ?5)
        ORDER BY hour DESC LIMIT ?6)";

/// The lines of an hour that differ in nothing a filter asks for.
#[derive(Deserialize)]
struct Row<'r> {
    #[serde(borrow)]
    action: Text<'r>,
    #[serde(borrow)]
    client: Text<'r>,
    #[serde(borrow)]
    principal: Text<'r>,
    #[serde(borrow)]
    destination: Text<'r>,
    #[serde(borrow)]
    outcome: Text<'r>,
    /// 0 for a refusal, which has none.
    version: u32,
    lines: i64,
}

/// What can be filtered for within the time and the user of `filter`.
pub(super) async fn choices(
    connection: &mut SqliteConnection,
    (owner, slug): (&str, &str),
    filter: &UsageFilter,
) -> sqlx::Result<Choices> {
    let (since, until) = filter.hours();
    let rows = sqlx::query_scalar(READ)
        .bind(owner)
        .bind(slug)
        .bind(since)
        .bind(until)
        .bind(filter.principal.as_deref())
        .bind(ROWS);
    let rows: String = rows.fetch_one(connection).await?;
    let rows: Vec<Row<'_>> =
        serde_json::from_str(&rows).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let versions = most(&rows, |row| (row.version > 0).then_some(row.version));
    Ok(Choices {
        actions: texts(&rows, |row| &row.action),
        clients: texts(&rows, |row| &row.client),
        principals: texts(&rows, |row| &row.principal),
        destinations: texts(&rows, |row| &row.destination),
        outcomes: texts(&rows, |row| match &*row.outcome {
            "" => UsageFilter::OPEN,
            outcome => outcome,
        }),
        versions: versions.iter().map(u32::to_string).collect(),
    })
}

fn texts<'r>(rows: &'r [Row<'r>], value: impl Fn(&'r Row<'r>) -> &'r str) -> Vec<String> {
    let named = most(rows, |row| Some(value(row)).filter(|text| !text.is_empty()));
    named.into_iter().map(str::to_owned).collect()
}

/// The values that most lines have, those first that have more.
fn most<'r, T: Copy + Ord + Hash>(
    rows: &'r [Row<'r>],
    value: impl Fn(&'r Row<'r>) -> Option<T>,
) -> Vec<T> {
    let mut lines: HashMap<T, i64> = HashMap::new();
    for row in rows {
        if let Some(value) = value(row) {
            *lines.entry(value).or_default() += row.lines;
        }
    }
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_unstable_by_key(|&(value, lines)| (std::cmp::Reverse(lines), value));
    lines
        .into_iter()
        .take(MOST)
        .map(|(value, _)| value)
        .collect()
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;
    use crate::ledger::usage::schema;

    #[tokio::test]
    async fn the_rows_of_the_credential_are_read_once_and_in_their_order() {
        let mut connection = schema::in_memory().await.unwrap();
        let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {READ}")));
        let plan = plan.fetch_all(&mut connection).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(3)).collect();
        let search = "SEARCH hour USING PRIMARY KEY (owner=? AND slug=? AND hour>? AND hour<?)";
        let reads = |step: &&String| step.starts_with("SEARCH") || step.contains("B-TREE");
        assert_eq!(plan.iter().filter(reads).collect::<Vec<_>>(), [search]);
    }
}
