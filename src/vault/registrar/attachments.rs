//! What is put into requests by itself.

use super::{Registrar, own};
use crate::policy::attachment::Attachment;
use crate::substitution::slug::Slug;
use crate::vault::attachment::{self, MOST};
use crate::vault::name::{Actor, Principal};
use crate::vault::store::edit::CredentialEdit;
use crate::vault::store::{Event, StoreError};

impl Registrar {
    /// Has a header field set in the owner's requests that a rule covers. Returns the rule's number, and
    /// whether it is new. The number in `rule` does not matter.
    pub async fn attach(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        rule: Attachment,
    ) -> Result<(u32, bool), StoreError> {
        let target = own(owner, slug);
        let mut attached = (0, false);
        let edit = |edit: &mut CredentialEdit| {
            let policy = edit.policy(&target)?;
            attachment::check(&rule, slug, &policy.grant).map_err(StoreError::Invalid)?;
            let mut known = policy.attachments.iter();
            if let Some(known) = known.find(|known| known.says_the_same(&rule)) {
                attached = (known.number, false);
                return Ok(());
            }
            if policy.attachments.len() >= MOST {
                return Err(StoreError::Invalid(
                    "a credential has at most 32 rules of this kind; detach one first",
                ));
            }
            let last = policy.attachments.iter().map(|known| known.number).max();
            let number = last.unwrap_or_default() + 1;
            attached = (number, true);
            let detail = attachment::describe(&rule);
            policy.attachments.push(Attachment { number, ..rule });
            let version = policy.current();
            edit.record_event(Event::CredentialAttached, version, detail);
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(attached)
    }

    /// Takes one rule away, or all of them. Returns how many there were.
    pub async fn detach(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        number: Option<u32>,
    ) -> Result<usize, StoreError> {
        let target = own(owner, slug);
        let mut removed = Vec::new();
        let edit = |edit: &mut CredentialEdit| {
            let policy = edit.policy(&target)?;
            let goes = |rule: &mut Attachment| number.is_none_or(|number| rule.number == number);
            removed = policy.attachments.extract_if(.., goes).collect();
            if let Some(number) = number
                && removed.is_empty()
            {
                return Err(StoreError::AttachmentNotFound(number));
            }
            let version = policy.current();
            for rule in &removed {
                edit.record_event(
                    Event::CredentialDetached,
                    version,
                    attachment::describe(rule),
                );
            }
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(removed.len())
    }
}
