//! What the index says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::ledger::format::timestamp::Timestamp;

/// Actions that are listed, those seen last; clients name them, so there may be any number.
const ACTIONS: i64 = 200;

/// Uses that are listed one by one.
const RECENT: i64 = 20;

/// When credentials were last used, by owner and slug.
pub type LastUses = HashMap<(String, String), Timestamp>;

/// Which version of a credential upstreams refuse, and since when, by owner and slug.
pub type Rejections = HashMap<(String, String), (u32, Timestamp)>;

/// What is known about one credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// The credential.
    pub slug: String,
    /// Whose.
    pub owner: String,
    /// `use` lines.
    pub uses: u64,
    /// `denied` lines.
    pub denied: u64,
    /// The time of the last `use`.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
    /// Since when upstreams refuse the value that was used last, as the ledger has it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub rejected_since: Option<Timestamp>,
    /// What each action did with it, the one seen last first.
    pub actions: Vec<ActionUsage>,
    /// Actions that are not listed because there are so many.
    pub more_actions: u64,
    /// The last uses, latest first.
    pub recent: Vec<RecentUse>,
    /// The lines of the ledger that this counts: from the first one...
    pub from_seq: u64,
    /// ...to the last one.
    pub to_seq: u64,
    /// Whether any line names the credential.
    #[serde(skip)]
    pub is_known: bool,
}

/// What one action did with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ActionUsage {
    /// The action.
    pub action: String,
    /// `use` lines.
    pub uses: u64,
    /// `denied` lines.
    pub denied: u64,
    /// The time of the last `use`.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
    /// The versions whose values were used.
    pub versions: BTreeSet<u32>,
    /// How requests ended: by the status of the answer, by the error code, `client_gone`,
    /// `unknown` after a crash, or `open` while there is no result.
    pub outcomes: BTreeMap<String, u64>,
}

/// One use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecentUse {
    /// The line.
    pub seq: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// As in the line.
    pub request: Option<String>,
    /// As in the line.
    pub field: Option<String>,
    /// As in the line.
    pub version: Option<u32>,
    /// As in the line.
    pub principal: Option<String>,
    /// As in the line.
    pub client: Option<String>,
    /// As in the line.
    pub action: Option<String>,
    /// As in the line.
    pub run: Option<String>,
    /// As in the line.
    pub method: Option<String>,
    /// As in the line.
    pub destination: Option<String>,
    /// As in the line.
    pub path: Option<String>,
    /// As in [`ActionUsage::outcomes`]; `None` while there is no result.
    pub outcome: Option<String>,
}

impl RecentUse {
    /// Reads the columns in the order of the fields.
    pub(super) fn read(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            seq: count(row, 0)?,
            time: Timestamp::from_unix_micros(row.try_get(1)?),
            request: row.try_get(2)?,
            field: row.try_get(3)?,
            version: row.try_get(4)?,
            principal: row.try_get(5)?,
            client: row.try_get(6)?,
            action: row.try_get(7)?,
            run: row.try_get(8)?,
            method: row.try_get(9)?,
            destination: row.try_get(10)?,
            path: row.try_get(11)?,
            outcome: row.try_get(12)?,
        })
    }
}

pub(super) fn count(row: &SqliteRow, at: usize) -> sqlx::Result<u64> {
    let number: i64 = row.try_get(at)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

pub(super) fn optional_count(row: &SqliteRow, at: usize) -> sqlx::Result<Option<u64>> {
    let number: Option<i64> = row.try_get(at)?;
    Ok(number.and_then(|number| u64::try_from(number).ok()))
}

fn time(row: &SqliteRow, at: usize) -> sqlx::Result<Option<Timestamp>> {
    let micros: Option<i64> = row.try_get(at)?;
    Ok(micros.map(Timestamp::from_unix_micros))
}

pub(super) async fn usage(
    connection: &mut SqliteConnection,
    owner: &str,
    slug: &str,
) -> sqlx::Result<Usage> {
    let mut usage = Usage {
        slug: slug.to_owned(),
        owner: owner.to_owned(),
        ..Usage::default()
    };
    // One moment, though other processes write.
    let mut connection = sqlx::Connection::begin(connection).await?;
    let position = "SELECT first, seq FROM position WHERE id = 1";
    if let Some(row) = sqlx::query(position)
        .fetch_optional(&mut *connection)
        .await?
    {
        (usage.from_seq, usage.to_seq) = (count(&row, 0)?, count(&row, 1)?);
    }
    let total = "SELECT uses, denied, last_used FROM credential WHERE owner = ? AND slug = ?";
    let total = sqlx::query(total).bind(owner).bind(slug);
    if let Some(row) = total.fetch_optional(&mut *connection).await? {
        usage.is_known = true;
        (usage.uses, usage.denied) = (count(&row, 0)?, count(&row, 1)?);
        usage.last_used = time(&row, 2)?;
        let mut rejections = rejections(&mut connection, Some((owner, slug))).await?;
        let rejection = rejections.remove(&(owner.to_owned(), slug.to_owned()));
        usage.rejected_since = rejection.map(|(_, since)| since);
        usage.actions = actions(&mut connection, owner, slug).await?;
        usage.recent = recent(&mut connection, owner, slug).await?;
    }
    if usage.actions.len() as u64 >= u64::try_from(ACTIONS).unwrap_or(0) {
        let all = "SELECT count(*) FROM action WHERE owner = ? AND slug = ?";
        let all = sqlx::query(all).bind(owner).bind(slug);
        let all = count(&all.fetch_one(&mut *connection).await?, 0)?;
        usage.more_actions = all - usage.actions.len() as u64;
    }
    Ok(usage)
}

/// The actions that are listed, as a subquery; what belongs to each is looked up by its key.
const LISTED: &str = "(SELECT action FROM action WHERE owner = ?1 AND slug = ?2
    ORDER BY last_seen DESC LIMIT ?3)";

async fn actions(
    connection: &mut SqliteConnection,
    owner: &str,
    slug: &str,
) -> sqlx::Result<Vec<ActionUsage>> {
    let mut actions = Vec::new();
    let mut places = HashMap::new();
    let listed = "SELECT action, uses, denied, last_used FROM action
        WHERE owner = ?1 AND slug = ?2 ORDER BY last_seen DESC LIMIT ?3";
    for row in fetch(connection, listed, owner, slug, ACTIONS).await? {
        let action: String = row.try_get(0)?;
        places.insert(action.clone(), actions.len());
        actions.push(ActionUsage {
            action,
            uses: count(&row, 1)?,
            denied: count(&row, 2)?,
            last_used: time(&row, 3)?,
            ..ActionUsage::default()
        });
    }
    let of = |table: &str, column: &str, what: &str| {
        format!(
            "SELECT t.action, {column}, {what} FROM {LISTED} AS l CROSS JOIN {table} AS t
             WHERE t.owner = ?1 AND t.slug = ?2 AND t.action = l.action"
        )
    };
    for row in fetch(
        connection,
        &of("version", "t.version", "t.uses"),
        owner,
        slug,
        ACTIONS,
    )
    .await?
    {
        if let Some(&at) = places.get(&row.try_get::<String, _>(0)?) {
            actions[at].versions.insert(row.try_get(1)?);
        }
    }
    for row in fetch(
        connection,
        &of("outcome", "t.outcome", "t.requests"),
        owner,
        slug,
        ACTIONS,
    )
    .await?
    {
        if let Some(&at) = places.get(&row.try_get::<String, _>(0)?) {
            let outcomes = &mut actions[at].outcomes;
            outcomes.insert(row.try_get(1)?, count(&row, 2)?);
        }
    }
    let open = of("unfinished", "'open'", "count(DISTINCT t.request)") + " GROUP BY t.action";
    for row in fetch(connection, &open, owner, slug, ACTIONS).await? {
        if let Some(&at) = places.get(&row.try_get::<String, _>(0)?) {
            actions[at]
                .outcomes
                .insert("open".to_owned(), count(&row, 2)?);
        }
    }
    Ok(actions)
}

async fn fetch(
    connection: &mut SqliteConnection,
    query: &str,
    owner: &str,
    slug: &str,
    limit: i64,
) -> sqlx::Result<Vec<SqliteRow>> {
    // The texts are those of this file.
    let query = sqlx::query(sqlx::AssertSqlSafe(query.to_owned()));
    let query = query.bind(owner).bind(slug).bind(limit);
    query.fetch_all(connection).await
}

async fn recent(
    connection: &mut SqliteConnection,
    owner: &str,
    slug: &str,
) -> sqlx::Result<Vec<RecentUse>> {
    let query = "SELECT seq, time, request, field, version, principal, client, action, run, method,
        destination, path, outcome FROM recent
        WHERE owner = ?1 AND slug = ?2 AND refused = 0 ORDER BY seq DESC LIMIT ?3";
    let rows = fetch(connection, query, owner, slug, RECENT).await?;
    rows.iter().map(RecentUse::read).collect()
}

/// Those of these credentials.
pub(super) async fn last_uses_of(
    connection: &mut SqliteConnection,
    credentials: &[(String, String)],
) -> sqlx::Result<LastUses> {
    let query = "SELECT last_used FROM credential WHERE owner = ? AND slug = ?
        AND last_used IS NOT NULL";
    let mut found = LastUses::new();
    for (owner, slug) in credentials {
        let row = sqlx::query(query).bind(owner).bind(slug);
        if let Some(row) = row.fetch_optional(&mut *connection).await? {
            let time = Timestamp::from_unix_micros(row.try_get(0)?);
            found.insert((owner.clone(), slug.clone()), time);
        }
    }
    Ok(found)
}

pub(super) async fn last_uses(connection: &mut SqliteConnection) -> sqlx::Result<LastUses> {
    let query = "SELECT owner, slug, last_used FROM credential WHERE last_used IS NOT NULL";
    let rows = sqlx::query(query).fetch_all(connection).await?;
    let read = |row: &SqliteRow| {
        let time = Timestamp::from_unix_micros(row.try_get(2)?);
        Ok(((row.try_get(0)?, row.try_get(1)?), time))
    };
    rows.iter().map(read).collect()
}

/// A success after a server was started again shows only as a result: the server had forgotten that the
/// value was refused.
const REJECTIONS: &str = "SELECT owner, slug, rejected_version, rejected FROM credential AS c
    WHERE rejected IS NOT NULL AND (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR slug = ?2)
        AND NOT EXISTS (SELECT 1 FROM recent AS r
            WHERE r.owner = c.owner AND r.slug = c.slug AND r.version = c.rejected_version
                AND r.time > c.rejected AND r.refused = 0
                AND r.outcome >= '200' AND r.outcome < '300')";

/// What upstreams refuse: all of it, or of one credential.
pub(super) async fn rejections(
    connection: &mut SqliteConnection,
    of: Option<(&str, &str)>,
) -> sqlx::Result<Rejections> {
    let (owner, slug) = of.unzip();
    let query = sqlx::query(REJECTIONS).bind(owner).bind(slug);
    let rows = query.fetch_all(connection).await?;
    let read = |row: &SqliteRow| {
        let since = Timestamp::from_unix_micros(row.try_get(3)?);
        Ok(((row.try_get(0)?, row.try_get(1)?), (row.try_get(2)?, since)))
    };
    rows.iter().map(read).collect()
}
