//! What owners said about uses, prepared for requests.

use super::Vault;
use super::directory::DirectoryIndex;
use crate::substitution::slug::Slug;
use crate::vault::approval::{Approval, Question, Said, Verdict};
use crate::vault::model::Credential;
use crate::vault::name::{Actor, Principal};
use crate::vault::store::StoreError;

impl Vault {
    /// What the owner of a credential said about a use at `now` (unix seconds).
    pub fn said(&self, credential: &Credential, question: &Question, now: i64) -> Said {
        let directory = self.directory.load();
        let about = directory.approvals(&credential.owner, &credential.slug);
        let kept = about.filter(|(_, approval)| approval.is_kept(now));
        let mut said = Said::Nothing;
        for (id, approval) in kept.filter(|(_, approval)| approval.is_about(question)) {
            match approval.verdict() {
                Some(Verdict::Always) => return Said::Always,
                Some(Verdict::Once) => said = Said::Once(id.clone()),
                Some(Verdict::No) if said == Said::Nothing => said = Said::No,
                None if !matches!(said, Said::Once(_)) => said = Said::Waiting(id.clone()),
                _ => {}
            }
        }
        said
    }

    /// Asks the owner.
    ///
    /// # Errors
    /// When too many questions are open, or the store fails.
    pub async fn ask(&self, id: &str, approval: &Approval) -> Result<(), StoreError> {
        let actor = Actor::client(&approval.question.client);
        self.store.ask_approval(&actor, id, approval).await
    }

    /// Uses up a yes for one request. Returns whether there was one that nobody else had used.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn use_approval(&self, id: &str, client: &str) -> Result<bool, StoreError> {
        let actor = Actor::client(client);
        self.store.use_approval(&actor, id).await
    }
}

impl DirectoryIndex {
    fn approvals<'a>(
        &'a self,
        owner: &Principal,
        slug: &Slug,
    ) -> impl Iterator<Item = &'a (String, Approval)> {
        let name = (owner.clone(), slug.clone());
        self.approvals.get(&name).into_iter().flatten()
    }
}
