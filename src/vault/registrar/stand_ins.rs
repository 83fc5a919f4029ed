//! Texts that mean a credential.

use super::{Registrar, own};
use crate::substitution::slug::Slug;
use crate::substitution::stand_in::is_well_formed;
use crate::vault::model::Kind;
use crate::vault::name::{Actor, Principal};
use crate::vault::stand_in::StandIn;
use crate::vault::store::edit::CredentialEdit;
use crate::vault::store::{Event, StoreError};

/// Most stand-ins of a credential, those included that were taken back.
const MOST: usize = 64;

impl Registrar {
    /// Has `text` mean a credential in its owner's requests. Those that were taken back first are
    /// forgotten when there are too many.
    pub async fn add_stand_in(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        text: String,
    ) -> Result<(), StoreError> {
        if !is_well_formed(&text) {
            return Err(StoreError::Invalid("that text cannot be a stand-in"));
        }
        let target = own(owner, slug);
        let edit = |edit: &mut CredentialEdit| {
            let now = edit.now;
            let policy = edit.policy(&target)?;
            if policy.kind != Kind::Secret {
                return Err(StoreError::Invalid(
                    "a stand-in means a credential with one value; this one has fields",
                ));
            }
            let known = &mut policy.stand_ins;
            if known.len() >= MOST
                && let Some(at) = known.iter().position(|known| known.revoked.is_some())
            {
                known.remove(at);
            }
            if known.len() >= MOST {
                return Err(StoreError::Invalid(
                    "a credential has at most 64 stand-ins; take one back first",
                ));
            }
            known.push(StandIn {
                text,
                created: now,
                revoked: None,
            });
            let version = policy.current();
            edit.record_event(Event::StandInAdded, version, "");
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await
    }

    /// Takes a stand-in back: requests that hold it are refused from then on. Returns whether it worked
    /// before.
    pub async fn revoke_stand_in(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        text: &str,
    ) -> Result<bool, StoreError> {
        let target = own(owner, slug);
        let mut changed = false;
        let edit = |edit: &mut CredentialEdit| {
            let now = edit.now;
            let policy = edit.policy(&target)?;
            let mut known = policy.stand_ins.iter_mut();
            let known = known.find(|known| known.text == text);
            let known = known.ok_or(StoreError::StandInNotFound)?;
            changed = known.revoked.is_none();
            if changed {
                known.revoked = Some(now);
                let version = policy.current();
                edit.record_event(Event::StandInRevoked, version, "");
            }
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(changed)
    }
}
