//! Texts that mean a credential, for requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Vault;
use crate::substitution::stand_in::{StandIn, StandIns};
use crate::vault::model::Credential;

impl Vault {
    /// Every stand-in there is; `None` without any.
    pub fn stand_ins(&self) -> Option<Arc<StandIns>> {
        self.stand_ins.load_full()
    }

    /// Remembers that the stand-ins are others now.
    pub(super) fn note_stand_ins(&self, credential: &Credential) {
        if !credential.stand_ins.is_empty() {
            self.stale_stand_ins.store(true, Ordering::Release);
        }
    }

    /// Puts the stand-ins of all credentials in force, if any may have changed.
    pub(super) fn follow_stand_ins(&self) {
        if !self.stale_stand_ins.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut all = Vec::new();
        for own in &self.own {
            for credential in own.credentials.values() {
                all.extend(credential.stand_ins.iter().map(|stand_in| StandIn {
                    text: stand_in.text.as_str().into(),
                    owner: credential.owner.as_str().into(),
                    slug: credential.slug.clone(),
                    is_revoked: stand_in.revoked.is_some(),
                }));
            }
        }
        let known = StandIns::new(all);
        self.stand_ins
            .store((!known.is_empty()).then(|| Arc::new(known)));
    }
}
