//! Recent usage: one credential's uses and refusals, by what a person filters for.

use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::answer::{RecentUse, count, optional_count};
use super::hours::HOUR;
use crate::ledger::format::timestamp::Timestamp;

/// Which lines are asked for. What is `None` limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// The action.
    pub action: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// Who used it.
    pub principal: Option<String>,
    /// `https://api.example.com:443`.
    pub destination: Option<String>,
    /// A status, an error code, or `open`.
    pub outcome: Option<String>,
    /// The version.
    pub version: Option<u32>,
    /// Refusals alone, or uses alone.
    pub refused: Option<bool>,
    /// From this time on. Sums begin with its hour.
    pub since: Option<Timestamp>,
    /// Before this time. Sums end with its hour.
    pub until: Option<Timestamp>,
}

/// One use or refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UsageLine {
    /// What the line says.
    #[serde(flatten)]
    pub line: RecentUse,
    /// Whether it was refused; the outcome is the code then.
    pub refused: bool,
    /// Where the placeholders were, separated by spaces.
    pub places: String,
    /// From the request's arrival to the end of its answer.
    pub duration_ms: Option<u64>,
    /// What had never used the credential before, as the line says: `action`, `destination`.
    pub first: Vec<String>,
}

/// The uses and refusals of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HourOfUse {
    /// When it begins.
    pub start: Timestamp,
    /// `use` lines.
    pub uses: u64,
    /// `denied` lines.
    pub refused: u64,
}

/// An action's use of a credential over some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionSum {
    /// The action; empty for requests that named none.
    pub action: String,
    /// `use` lines.
    pub uses: u64,
    /// The last hour in which there was one.
    pub last: Timestamp,
}

/// The conditions that both tables share, after owner and slug as `?1` and `?2`.
const CONDITIONS: &str = "owner = ?1 AND slug = ?2
    AND (?3 IS NULL OR action = ?3) AND (?4 IS NULL OR client = ?4)
    AND (?5 IS NULL OR principal = ?5) AND (?6 IS NULL OR destination = ?6)
    AND (?7 IS NULL OR ifnull(outcome, '') = ?7) AND (?8 IS NULL OR version = ?8)
    AND (?9 IS NULL OR refused = ?9)";

impl UsageFilter {
    /// What a filter calls a use without a result.
    pub(super) const OPEN: &str = "open";

    fn outcome(&self) -> Option<&str> {
        let outcome = self.outcome.as_deref();
        outcome.map(|outcome| if outcome == Self::OPEN { "" } else { outcome })
    }

    /// The hours that its time is in.
    pub(super) fn hours(&self) -> (i64, i64) {
        let hour = |time: Timestamp| time.unix_micros().div_euclid(HOUR);
        (
            self.since.map_or(0, hour),
            self.until.map_or(i64::MAX, hour),
        )
    }
}

/// A query with owner, slug and the filter bound.
macro_rules! bound {
    ($query:expr, $owner:expr, $slug:expr, $filter:expr) => {
        // The texts are those of this file.
        sqlx::query(sqlx::AssertSqlSafe($query))
            .bind($owner)
            .bind($slug)
            .bind($filter.action.as_deref())
            .bind($filter.client.as_deref())
            .bind($filter.principal.as_deref())
            .bind($filter.destination.as_deref())
            .bind($filter.outcome())
            .bind($filter.version)
            .bind($filter.refused)
    };
}

/// The lines before the line `before`, latest first.
pub(super) async fn lines(
    connection: &mut SqliteConnection,
    (owner, slug): (&str, &str),
    filter: &UsageFilter,
    before: Option<u64>,
    limit: u32,
) -> sqlx::Result<Vec<UsageLine>> {
    let query = format!(
        "SELECT seq, time, request, field, version, principal, client, action, run, method,
             destination, path, nullif(outcome, ''), refused, places, duration_ms, first
         FROM recent WHERE {CONDITIONS} AND time >= ?10 AND time < ?11 AND seq < ?12
         ORDER BY seq DESC LIMIT ?13"
    );
    let micros = |time: Option<Timestamp>, other| time.map_or(other, Timestamp::unix_micros);
    let before = before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let query = bound!(query, owner, slug, filter)
        .bind(micros(filter.since, 0))
        .bind(micros(filter.until, i64::MAX))
        .bind(before)
        .bind(limit);
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(read_line).collect()
}

fn read_line(row: &SqliteRow) -> sqlx::Result<UsageLine> {
    let first: &str = row.try_get(16)?;
    Ok(UsageLine {
        line: RecentUse::read(row)?,
        refused: row.try_get(13)?,
        places: row.try_get::<Option<String>, _>(14)?.unwrap_or_default(),
        duration_ms: optional_count(row, 15)?,
        first: first.split_terminator(' ').map(str::to_owned).collect(),
    })
}

/// The hours in which there was something, in their order.
pub(super) async fn hours(
    connection: &mut SqliteConnection,
    (owner, slug): (&str, &str),
    filter: &UsageFilter,
) -> sqlx::Result<Vec<HourOfUse>> {
    let query = format!(
        "SELECT hour, sum(iif(refused, 0, lines)), sum(iif(refused, lines, 0)) FROM hour
         WHERE {CONDITIONS} AND hour >= ?10 AND hour <= ?11 GROUP BY hour ORDER BY hour"
    );
    let (since, until) = filter.hours();
    let query = bound!(query, owner, slug, filter).bind(since).bind(until);
    let rows = query.fetch_all(connection).await?;
    let read = |row: &SqliteRow| {
        Ok(HourOfUse {
            start: hour(row, 0)?,
            uses: count(row, 1)?,
            refused: count(row, 2)?,
        })
    };
    rows.iter().map(read).collect()
}

fn hour(row: &SqliteRow, at: usize) -> sqlx::Result<Timestamp> {
    let hour: i64 = row.try_get(at)?;
    Ok(Timestamp::from_unix_micros(hour.saturating_mul(HOUR)))
}

/// The actions that used it, those with most uses first, at most `limit`.
pub(super) async fn actions(
    connection: &mut SqliteConnection,
    (owner, slug): (&str, &str),
    filter: &UsageFilter,
    limit: u32,
) -> sqlx::Result<Vec<ActionSum>> {
    let query = format!(
        "SELECT action, sum(lines) AS uses, max(hour) FROM hour
         WHERE {CONDITIONS} AND hour >= ?10 AND hour <= ?11 AND refused = 0
         GROUP BY action ORDER BY uses DESC LIMIT ?12"
    );
    let (since, until) = filter.hours();
    let query = bound!(query, owner, slug, filter)
        .bind(since)
        .bind(until)
        .bind(limit);
    let rows = query.fetch_all(connection).await?;
    let read = |row: &SqliteRow| {
        Ok(ActionSum {
            action: row.try_get(0)?,
            uses: count(row, 1)?,
            last: hour(row, 2)?,
        })
    };
    rows.iter().map(read).collect()
}

/// What one client did, over all credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientUse {
    /// `use` lines.
    pub uses: u64,
    /// `denied` lines.
    pub refused: u64,
    /// The time of the last line.
    pub last_seen: Timestamp,
    /// The action of the last line.
    pub last_action: String,
}

/// What a client of `principal` did, if it did anything.
pub(super) async fn client(
    connection: &mut SqliteConnection,
    principal: &str,
    client: &str,
) -> sqlx::Result<Option<ClientUse>> {
    let query = "SELECT uses, refused, last_seen, last_action FROM client
        WHERE principal = ? AND client = ?";
    let row = sqlx::query(query).bind(principal).bind(client);
    let Some(row) = row.fetch_optional(connection).await? else {
        return Ok(None);
    };
    Ok(Some(ClientUse {
        uses: count(&row, 0)?,
        refused: count(&row, 1)?,
        last_seen: Timestamp::from_unix_micros(row.try_get(2)?),
        last_action: row.try_get(3)?,
    }))
}

/// The action that used each credential last, and when, by owner and slug.
pub type LastActions = std::collections::HashMap<(String, String), (Timestamp, String)>;

/// The last use of each of these credentials.
pub(super) async fn last_actions(
    connection: &mut SqliteConnection,
    credentials: &[(String, String)],
) -> sqlx::Result<LastActions> {
    let query = "SELECT last_used, action FROM action WHERE owner = ? AND slug = ?
        AND last_used IS NOT NULL ORDER BY last_seen DESC LIMIT 1";
    let mut found = LastActions::new();
    for (owner, slug) in credentials {
        let row = sqlx::query(query).bind(owner).bind(slug);
        if let Some(row) = row.fetch_optional(&mut *connection).await? {
            let time = Timestamp::from_unix_micros(row.try_get(0)?);
            found.insert((owner.clone(), slug.clone()), (time, row.try_get(1)?));
        }
    }
    Ok(found)
}
