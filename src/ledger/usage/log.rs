//! The index's write-ahead log, which has to be moved into the database now and then.
//!
//! That waits for the disk: a tenth of a second is nothing unusual. So connections that somebody waits for
//! never do it, and the keeper of the index does.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::SqliteConnection;

use super::schema::{self, LONG_LOG, USAGE};

/// How often it is tried again where others went on writing meanwhile. Each time less is left to move.
const PASSES: u32 = 4;

/// From this length on, others wait for the last pass, so that the log cannot grow without a bound.
const LONGEST: u64 = 8 * LONG_LOG;

/// How long a pass waits for others that read.
const WAIT: Duration = Duration::from_millis(500);

/// How long the file is, and when it was written last. It stays as long when the log begins again.
pub(super) type State = (u64, SystemTime);

/// The log of the index in `dir`; `None` where there is none.
pub(super) fn state(dir: &Path) -> Option<State> {
    let file = fs::metadata(dir.join(format!("{USAGE}-wal"))).ok()?;
    Some((file.len(), file.modified().ok()?))
}

/// Whether it has to be moved into the database.
pub(super) fn is_long(state: &State) -> bool {
    state.0 > LONG_LOG
}

/// Moves the log into the database; whether all of it is there now, so that the next change begins it again.
pub(super) async fn fold(connection: &mut SqliteConnection, dir: &Path) -> sqlx::Result<bool> {
    schema::serve_who_waits(connection, WAIT).await?;
    for _ in 0..PASSES {
        if pass(connection, "PRAGMA wal_checkpoint(PASSIVE)").await? {
            return Ok(true);
        }
    }
    if state(dir).is_some_and(|(length, _)| length > LONGEST) {
        return pass(connection, "PRAGMA wal_checkpoint(RESTART)").await;
    }
    Ok(false)
}

async fn pass(connection: &mut SqliteConnection, query: &'static str) -> sqlx::Result<bool> {
    let (is_busy, log, moved): (i64, i64, i64) =
        sqlx::query_as(query).fetch_one(connection).await?;
    Ok(is_busy == 0 && log == moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::usage::UsageIndex;
    use crate::ledger::usage::tests::{Growing, used};

    fn database(dir: &Path) -> u64 {
        fs::metadata(dir.join(USAGE)).unwrap().len()
    }

    fn length(dir: &Path) -> u64 {
        state(dir).map_or(0, |(length, _)| length)
    }

    #[tokio::test]
    async fn whoever_waits_leaves_the_log_to_the_keeper() {
        let mut ledger = Growing::with([used("r", "a", 1)]);
        let dir = ledger.dir.path().to_owned();
        let mut asked = UsageIndex::open_within(&dir, WAIT).await.unwrap();
        let before = database(&dir);
        let mut grow =
            async |asked: &mut UsageIndex, first: usize, steps: usize| {
                for step in first..first + steps {
                    ledger.grow((0..20).map(|line| {
                        used(&format!("r{step}-{line}"), &format!("a{step}-{line}"), 1)
                    }));
                    asked.catch_up(|| true).await.unwrap();
                }
            };
        let mut steps = 0;
        while length(&dir) <= LONG_LOG {
            assert!(steps < 2_000, "the log has {} bytes", length(&dir));
            grow(&mut asked, steps, 20).await;
            steps += 20;
        }
        assert_eq!(database(&dir), before, "the log was moved by who waits");

        let mut keeper = UsageIndex::open_behind(&dir).await.unwrap();
        assert!(fold(&mut keeper.connection, &dir).await.unwrap());
        keeper.leave();
        assert!(database(&dir) > before);
        let folded = length(&dir);
        // The next change begins the log again, and cuts its file back.
        grow(&mut asked, steps, 1).await;
        let after = length(&dir);
        assert!(
            after <= LONG_LOG && after < folded,
            "{after} after {folded}"
        );
        let uses = asked.usage("alice", "pat").await.unwrap().uses;
        assert_eq!(uses, 1 + (steps as u64 + 1) * 20);
    }
}
