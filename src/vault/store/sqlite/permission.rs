//! Whether whoever makes a change may make it.

use super::database::Change;
use crate::vault::name::{GroupName, Principal};
use crate::vault::people::{Grantee, Group, Share, User};
use crate::vault::rights::{Requester, Right, Verdict};
use crate::vault::store::error::StoreError;

impl Change<'_> {
    /// Whether the actor may do `right` to what `owner` owns and has shared by `shares`. `unknown` is
    /// the answer to those for whom it does not exist.
    pub(super) async fn permit_to(
        &mut self,
        right: Right,
        owner: &Principal,
        shares: &[Share],
        unknown: impl FnOnce() -> StoreError + Send,
    ) -> Result<(), StoreError> {
        let uses = match self.actor.acts_for() {
            Some(user) => self.receives(user, shares).await?,
            None => false,
        };
        let user = self.acting_user().await?;
        match Requester::of(self.actor, user.as_ref()).may(right, owner, uses) {
            Verdict::Allowed => Ok(()),
            Verdict::Forbidden(reason) => Err(StoreError::Forbidden(reason)),
            Verdict::Unknown => Err(unknown()),
        }
    }

    /// Whether the actor may administer.
    pub(super) async fn permit_administration(&mut self) -> Result<(), StoreError> {
        let user = self.acting_user().await?;
        let requester = Requester::of(self.actor, user.as_ref());
        requester.may_administer().map_err(StoreError::Forbidden)
    }

    /// The user for whom the actor acts, if the store has one.
    async fn acting_user(&mut self) -> Result<Option<User>, StoreError> {
        match self.actor.acts_for() {
            Some(name) => self.get::<User>(name.as_str()).await,
            None => Ok(None),
        }
    }

    /// Whether one of the shares is with a user.
    async fn receives(&mut self, user: &Principal, shares: &[Share]) -> Result<bool, StoreError> {
        let now = self.now();
        for share in shares.iter().filter(|share| share.usable(now)) {
            let covered = match &share.with {
                Grantee::User(name) => name == user,
                Grantee::Everyone => true,
                Grantee::Group(group) => self.is_member(group, user).await?,
            };
            if covered {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_member(&mut self, group: &GroupName, user: &Principal) -> Result<bool, StoreError> {
        let group = self.get::<Group>(group.as_str()).await?;
        Ok(group.is_some_and(|group| group.present().any(|member| member == user)))
    }
}
