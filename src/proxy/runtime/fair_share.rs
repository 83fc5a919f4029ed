//! How many requests of one client are under way at once, so that none takes the share of others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::proxy::runtime::sync::lock;

/// Counts what is under way, by client.
#[derive(Default)]
pub struct FairShares(Mutex<HashMap<Arc<str>, Share>>);

/// What one client may have.
struct Share {
    most: usize,
    places: Arc<Semaphore>,
}

/// A client's place, as long as it is kept.
#[derive(Debug)]
pub struct ClientPlace {
    _permit: OwnedSemaphorePermit,
}

impl FairShares {
    /// Takes one of `most` places of a client, and waits at most `patience` for it; `None` if there is
    /// none by then.
    pub async fn take(
        &self,
        client: &Arc<str>,
        most: usize,
        patience: Duration,
    ) -> Option<Arc<ClientPlace>> {
        let places = self.places(client, most);
        let place = timeout(patience, places.acquire_owned()).await.ok()?.ok()?;
        Some(Arc::new(ClientPlace { _permit: place }))
    }

    fn places(&self, client: &Arc<str>, most: usize) -> Arc<Semaphore> {
        let mut shares = lock(&self.0);
        // Whose places are all free is not remembered, so that names of clients that are gone are not.
        shares.retain(|name, share| {
            name == client
                || share.places.available_permits() < share.most
                || Arc::strong_count(&share.places) > 1
        });
        let share = shares
            .entry(Arc::clone(client))
            .or_insert_with(|| Share::of(most));
        if share.most != most {
            // After a reload. What is under way keeps its place among the former ones.
            *share = Share::of(most);
        }
        Arc::clone(&share.places)
    }
}

impl Share {
    fn of(most: usize) -> Self {
        Self {
            most,
            places: Arc::new(Semaphore::new(most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_client_has_places_of_its_own() {
        let shares = FairShares::default();
        let [a, b] = ["a", "b"].map(Arc::<str>::from);
        let soon = Duration::from_millis(1);
        let first = shares.take(&a, 1, soon).await;
        assert!(first.is_some());
        assert!(shares.take(&a, 1, soon).await.is_none());
        assert!(shares.take(&b, 1, soon).await.is_some());
        assert_eq!(lock(&shares.0).len(), 2);
        drop(first);
        assert!(shares.take(&a, 1, soon).await.is_some());
        assert!(shares.take(&b, 2, soon).await.is_some());
        assert_eq!(lock(&shares.0).len(), 1, "idle clients are forgotten");
    }
}
