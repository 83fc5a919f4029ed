//! Every client, by name and by the hash of its token.

use std::collections::HashMap;
use std::sync::Arc;

use crate::vault::client_proof::{ClientProof, TokenHash};
use crate::vault::model::Client;
use crate::vault::name::ClientName;

/// The clients of a store.
#[derive(Default)]
pub(super) struct ClientIndex {
    by_name: HashMap<ClientName, Arc<Client>>,
    /// Keyed by the start of the hash only; the rest is compared in constant time.
    by_hash: HashMap<[u8; 8], Vec<Arc<Client>>>,
}

impl ClientIndex {
    pub(super) fn new(clients: Vec<Client>) -> Self {
        let mut index = Self::default();
        for client in clients.into_iter().map(Arc::new) {
            if let ClientProof::Token(hash) = &client.proof {
                let same_start = index.by_hash.entry(prefix(hash)).or_default();
                same_start.push(Arc::clone(&client));
            }
            index.by_name.insert(client.name.clone(), client);
        }
        index
    }

    /// The client of that name, expired or not.
    pub(super) fn by_name(&self, name: &ClientName) -> Option<&Arc<Client>> {
        self.by_name.get(name)
    }

    /// Every client, expired or not.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.by_name.values()
    }

    /// The client whose token has this hash, expired or not.
    pub(super) fn by_token(&self, hash: &TokenHash) -> Option<&Arc<Client>> {
        let candidates = self.by_hash.get(&prefix(hash))?;
        candidates.iter().find(|client| match &client.proof {
            ClientProof::Token(stored) => {
                aws_lc_rs::constant_time::verify_slices_are_equal(stored, hash).is_ok()
            }
            ClientProof::Key(_) => false,
        })
    }
}

fn prefix(hash: &TokenHash) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    [a, b, c, d, e, f, g, h]
}
