//! What a server does beside serving requests, each a task that runs until it is aborted.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::observe::redact;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::runtime::workers::Workers;
use crate::vault::model::OVERLAP;
use crate::{clock, memory, observe};

/// How often changes made by commands are taken into the ledger while no request asks for them.
const CHANGES_INTERVAL: Duration = Duration::from_millis(250);
/// How often replaced values are looked through.
const OVERLAP_INTERVAL: Duration = Duration::from_secs(600);

/// Starts all of it.
pub(super) fn start(proxy: &Arc<Proxy>, workers: &Workers) -> [JoinHandle<()>; 4] {
    let threads = workers.handles().cloned().chain([Handle::current()]);
    [
        tokio::spawn(follow_changes(Arc::clone(proxy))),
        tokio::spawn(follow_values(Arc::clone(proxy), threads.collect())),
        tokio::spawn(erase_replaced(Arc::clone(proxy))),
        tokio::spawn(observe::trim::watch(proxy.tasks.clone())),
    ]
}

/// Takes changes by commands into the ledger soon, also while no request comes.
async fn follow_changes(proxy: Arc<Proxy>) {
    loop {
        tokio::time::sleep(CHANGES_INTERVAL).await;
        // A store that cannot be read is logged by the vault; requests are refused meanwhile.
        let _ = proxy.changes.follow(&proxy.vault, &proxy.ledger).await;
    }
}

/// Keeps the log's filter up to date, and drops values that are out of use: of what was
/// prepared for searching, of idle connections, in whose buffers they may lie, and of what calls
/// have left on the stacks of the runtimes' `threads`.
async fn follow_values(proxy: Arc<Proxy>, threads: Vec<Handle>) {
    let mut followed = None;
    loop {
        let state = (proxy.vault.generation(), proxy.vault.retired());
        if followed != Some(state) {
            let opening = Arc::clone(&proxy);
            let everyone = apart(move || opening.needle_cache.everyone(&opening.vault));
            if let Some(needles) = everyone.await {
                redact::know_all(state.0, needles);
            }
            proxy.needle_cache.forget_before(state.0);
            if followed.is_some_and(|(_, retired)| retired != state.1) {
                renew_upstream(&proxy);
                memory::stack::wipe_all(&threads).await;
            }
            followed = Some(state);
        }
        tokio::time::sleep(CHANGES_INTERVAL).await;
    }
}

/// Does what opens values on a thread that ends with it: its stack, which is wiped to a depth that
/// nothing else needs, is not kept. `None` if there is no such thread.
async fn apart<T: Send + 'static>(open: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, opened) = oneshot::channel();
    let run = move || {
        let result = open();
        memory::stack::wipe();
        // Nobody waits for it any more when the server ends.
        let _ = done.send(result);
    };
    thread::Builder::new()
        .name("values".to_owned())
        .spawn(run)
        .ok()?;
    opened.await.ok()
}

/// Makes the upstream connections again. Idle connections go with the old one, and those in use when their
/// exchange is over.
fn renew_upstream(proxy: &Proxy) {
    let running = proxy.settings.load_full();
    let renewed = Settings {
        identity: running.identity.clone(),
        upstream: running.upstream.renewed(),
        config: running.config.clone(),
    };
    // If a reload came in between, its way out is new already.
    proxy.settings.compare_and_swap(&running, Arc::new(renewed));
}

/// Erases replaced values whose time is over.
async fn erase_replaced(proxy: Arc<Proxy>) {
    loop {
        let due = clock::unix_seconds() - OVERLAP;
        if let Err(error) = proxy.vault.store().erase_replaced(due).await {
            tracing::warn!(%error, "replaced values could not be erased yet");
        }
        tokio::time::sleep(OVERLAP_INTERVAL).await;
    }
}
