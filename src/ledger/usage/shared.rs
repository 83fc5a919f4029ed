//! The index for many who ask in one process: opened once, caught up for each question.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::answer::{LastUses, Usage};
use super::index::{UsageError, UsageIndex};

/// The usage index of one ledger. Clones share it.
#[derive(Clone)]
pub struct UsageReader {
    dir: Arc<Path>,
    /// One at a time: the index has one connection.
    index: Arc<Mutex<Option<UsageIndex>>>,
}

impl UsageReader {
    /// Of the ledger in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            index: Arc::default(),
        }
    }

    /// What is known of one credential.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn usage(&self, owner: &str, slug: &str) -> Result<Usage, UsageError> {
        let mut held = self.index.lock().await;
        let mut index = self.current(held.take()).await?;
        let usage = index.usage(owner, slug).await;
        // One that failed is opened again by whoever asks next.
        *held = usage.is_ok().then_some(index);
        usage
    }

    /// When each credential was last used.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn last_uses(&self) -> Result<LastUses, UsageError> {
        let mut held = self.index.lock().await;
        let mut index = self.current(held.take()).await?;
        let uses = index.last_uses().await;
        *held = uses.is_ok().then_some(index);
        uses
    }

    /// An index that knows every line of now.
    async fn current(&self, open: Option<UsageIndex>) -> Result<UsageIndex, UsageError> {
        if let Some(mut index) = open
            && index.catch_up(|| true).await.is_ok()
        {
            return Ok(index);
        }
        UsageIndex::open(&self.dir).await
    }
}
