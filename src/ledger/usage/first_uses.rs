//! Who has used which credential, as far as the index knows.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::ledger::first_uses::{Aspect, FirstUses, place};

/// In the order of [`Aspect::ALL`].
const PAIRS: &str = "
    SELECT owner, slug, 0, action FROM action WHERE uses > 0
    UNION ALL SELECT DISTINCT owner, slug, 1, client FROM hour WHERE NOT refused
    UNION ALL SELECT DISTINCT owner, slug, 2, destination FROM hour WHERE NOT refused
    UNION ALL SELECT DISTINCT owner, slug, 3, places FROM recent WHERE NOT refused AND places > ''";

/// Tells `first_uses` all of it.
pub(super) async fn tell(
    connection: &mut SqliteConnection,
    first_uses: &FirstUses,
) -> sqlx::Result<()> {
    let rows = sqlx::query(PAIRS).fetch_all(connection).await?;
    let rows: Vec<Pair> = rows.iter().map(Pair::read).collect::<Result<_, _>>()?;
    first_uses.learn(rows.iter().flat_map(Pair::names));
    Ok(())
}

struct Pair {
    owner: String,
    slug: String,
    aspect: Aspect,
    /// Places are separated by spaces.
    names: String,
}

impl Pair {
    fn read(row: &SqliteRow) -> sqlx::Result<Self> {
        let aspect: i64 = row.try_get(2)?;
        let aspect = usize::try_from(aspect)
            .ok()
            .and_then(|at| Aspect::ALL.get(at));
        Ok(Self {
            owner: row.try_get(0)?,
            slug: row.try_get(1)?,
            aspect: *aspect.unwrap_or(&Aspect::Action),
            names: row.try_get(3)?,
        })
    }

    fn names(&self) -> impl Iterator<Item = ((&str, &str), Aspect, &str)> {
        let is_place = self.aspect == Aspect::Location;
        let names = self.names.split(move |c| is_place && c == ' ');
        let names = names.map(move |name| if is_place { place(name) } else { name });
        names.map(|name| ((&*self.owner, &*self.slug), self.aspect, name))
    }
}
