//! Who has used which credential, as far as the index knows.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::ledger::first_uses::{Aspect, FirstUses, place};

/// Credentials that are asked for at once.
const PAGE: i64 = 200;

const CREDENTIALS: &str = "
    SELECT owner, slug FROM credential
    WHERE uses > 0 AND (owner, slug) > (?, ?) ORDER BY owner, slug LIMIT ?";

/// What has used one credential, in the order of [`Aspect::ALL`].
const NAMES: &str = "
    SELECT 0, action FROM action WHERE owner = ?1 AND slug = ?2 AND uses > 0
    UNION ALL SELECT DISTINCT 1, client FROM hour WHERE owner = ?1 AND slug = ?2 AND NOT refused
    UNION ALL SELECT DISTINCT 2, destination FROM hour WHERE owner = ?1 AND slug = ?2 AND NOT refused
    UNION ALL SELECT DISTINCT 3, places FROM recent
        WHERE owner = ?1 AND slug = ?2 AND NOT refused AND places > ''";

/// Tells `first_uses` all of it, one credential after the other: what is kept of each is bounded, and
/// what is kept of all of them does not have to fit into memory.
pub(super) async fn tell(
    connection: &mut SqliteConnection,
    first_uses: &FirstUses,
) -> sqlx::Result<()> {
    let mut after = (String::new(), String::new());
    loop {
        let page = sqlx::query_as::<_, (String, String)>(CREDENTIALS)
            .bind(&after.0)
            .bind(&after.1)
            .bind(PAGE)
            .fetch_all(&mut *connection)
            .await?;
        let Some(last) = page.last() else {
            first_uses.learned();
            return Ok(());
        };
        after = last.clone();
        for (owner, slug) in &page {
            let rows = sqlx::query(NAMES).bind(owner).bind(slug);
            let rows = rows.fetch_all(&mut *connection).await?;
            let names: Vec<Names> = rows.iter().map(Names::read).collect::<Result<_, _>>()?;
            let pairs = names.iter().flat_map(Names::each);
            let credential = (owner.as_str(), slug.as_str());
            if !first_uses.learn(pairs.map(|(aspect, name)| (credential, aspect, name))) {
                tracing::warn!(
                    "the usage index knows more pairs of a credential and its user than are \
                     remembered, so no use is called a first one"
                );
                return Ok(());
            }
        }
    }
}

struct Names {
    aspect: Aspect,
    /// Places are separated by spaces.
    names: String,
}

impl Names {
    fn read(row: &SqliteRow) -> sqlx::Result<Self> {
        let aspect: i64 = row.try_get(0)?;
        let aspect = usize::try_from(aspect)
            .ok()
            .and_then(|at| Aspect::ALL.get(at));
        Ok(Self {
            aspect: *aspect.unwrap_or(&Aspect::Action),
            names: row.try_get(1)?,
        })
    }

    fn each(&self) -> impl Iterator<Item = (Aspect, &str)> {
        let is_place = self.aspect == Aspect::Location;
        let names = self.names.split(move |c| is_place && c == ' ');
        names.map(move |name| {
            let name = if is_place { place(name) } else { name };
            (self.aspect, name)
        })
    }
}
