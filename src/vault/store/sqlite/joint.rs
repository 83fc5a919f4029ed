//! Several changes in one transaction: all of them are made, or none.

use super::database::{Change, Database};
use super::together::{Parts, Together};
use crate::vault::name::Actor;
use crate::vault::store::error::StoreError;

impl Database {
    /// The same database, whose changes are made together by [`Database::finish`], if the store has
    /// this revision.
    pub async fn together(&self, actor: &Actor, revision: Option<i64>) -> Result<Self, StoreError> {
        let change = self.begin(actor).await?;
        if revision.is_some_and(|revision| revision != change.head.revision) {
            return Err(StoreError::Changed);
        }
        let together = Together::default();
        together.put(change.parts()).await;
        Ok(self.within(together))
    }

    /// Makes the changes.
    pub async fn finish(&self, actor: &Actor) -> Result<(), StoreError> {
        let Some(together) = &self.together else {
            return Ok(());
        };
        let mut change = Change::of(together, actor).await?;
        change.together = None;
        change.commit().await?;
        if together.has_erased() {
            self.erase_log().await;
        }
        Ok(())
    }
}

impl<'a> Change<'a> {
    /// The next of several changes.
    pub(super) async fn of(together: &Together, actor: &'a Actor) -> Result<Self, StoreError> {
        let parts = together.take().await?;
        Ok(Self {
            transaction: parts.transaction,
            key: parts.key,
            revision: parts.revision,
            head: parts.head,
            time: parts.time,
            actor,
            together: Some(together.clone()),
            takes_away: false,
            reserve: None,
            given: None,
        })
    }

    fn parts(self) -> Parts {
        Parts {
            transaction: self.transaction,
            key: self.key,
            revision: self.revision,
            head: self.head,
            time: self.time,
        }
    }

    /// Ends a change that is not written yet, or that changes nothing.
    pub(super) async fn leave(self) -> Result<(), StoreError> {
        if let Some(together) = self.together.clone() {
            together.put(self.parts()).await;
        }
        Ok(())
    }
}
