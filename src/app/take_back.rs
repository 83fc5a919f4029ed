//! A server goes on after the program that was to follow it did not serve.
//!
//! What has ended for the hand-over is begun anew, and what was under way is finished as it would have been
//! beside the other program. The store stays open, and the settings are those in memory, so that a configuration
//! with which the new program failed, and a certificate that is gone, do no harm here.

use std::mem;
use std::sync::Arc;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::inherited::Inherited;
use super::listeners::Listeners;
use super::standing::Standing;
use super::{Server, UnixSocket};

impl Server {
    /// Serves again, after [`hand_over`](Self::hand_over) has failed and the ledger is back.
    ///
    /// # Errors
    /// When the system gives it no threads, or not the sockets.
    pub async fn take_back(mut self) -> Result<Self> {
        let mut inherited = Inherited::default();
        for handed in mem::take(&mut self.handed) {
            inherited.add_of(handed.key, handed.socket)?;
        }
        let started = self.started.clone();
        let listeners = Listeners::bind(&started, inherited)?;
        self.sockets.iter_mut().for_each(UnixSocket::leave);
        self.sockets.clear();
        let alone = CancellationToken::new();
        let mut retiring = mem::take(&mut self.standing.retiring);
        retiring.retain(|workers| workers.strong_count() > 0);
        retiring.push(Arc::downgrade(&self.workers));
        let before = &self.standing;
        let standing = Standing {
            parts: before.parts.clone(),
            own: Arc::clone(&before.own),
            canary: Arc::clone(&before.canary),
            places: before.places.clone(),
            ended: before.ended.clone(),
            alone: alone.clone(),
            retiring,
        };
        // Those that are in force, which a reload may have changed. Connections to upstreams end with the
        // threads that opened them.
        let settings = self.proxy.settings.load().with_new_connections();
        let mut server = Self::stand(started, Arc::new(settings), listeners, standing, go_on)?;
        server.adopt();
        if let Err(error) = server.announced.change(|_| {}) {
            tracing::warn!("it cannot be said where the server is: {error:#}");
        }
        tokio::spawn(async move {
            let _alone = alone.drop_guard();
            self.retire().await;
        });
        Ok(server)
    }

    /// Lets what is under way finish, beside the server that has the place of this one.
    async fn retire(self) {
        self.proxy.tasks.close();
        let deadline = self.proxy.settings.load().config.proxy.drain_timeout;
        let _ = tokio::time::timeout(deadline, self.drain(deadline)).await;
        let workers = self.workers;
        let _ = tokio::task::spawn_blocking(move || workers.end()).await;
    }
}

/// Requests are served although something beside them cannot be begun again, such as a file with a token that is
/// gone.
fn go_on(error: anyhow::Error) -> Result<()> {
    tracing::error!("not before the next start: {error:#}");
    Ok(())
}
