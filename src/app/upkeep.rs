//! What a server does beside serving requests, each a task that runs until it is aborted.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::acceptance;
use super::disk::on_disk;
use super::server_file::Announcement;
use super::settings;
use crate::admin::AdminContext;
use crate::config::{self, Config, KeysPlace};
use crate::fetch::Fetcher;
use crate::identity::Issuer;
use crate::observe::redact;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::runtime::workers::Workers;
use crate::tls::authority::{Authority, Validity};
use crate::vault::{Actor, Keyring};
use crate::{clock, memory, observe};

/// How often changes made by commands are taken into the ledger while no request asks for them.
const CHANGES_INTERVAL: Duration = Duration::from_millis(250);
/// How many times as long as it took the values of all are left alone, unless one went out of use: in a
/// large store they take a tenth of a processor at most while others are added.
const VALUES_SHARE: u32 = 9;
/// How often the keys of issuers are read.
const ISSUER_INTERVAL: Duration = Duration::from_secs(60);
/// How often memberships are looked through.
const MEMBERSHIP_INTERVAL: Duration = Duration::from_secs(60);
/// How soon it is tried again.
const ISSUER_RETRY: Duration = Duration::from_secs(5);
/// How often the files of the authority are looked at, and its dates compared with the clock.
const AUTHORITY_INTERVAL: Duration = Duration::from_secs(2);
/// How often the next master key is looked for.
const KEY_INTERVAL: Duration = Duration::from_millis(500);
/// How often replaced values are looked through.
const OVERLAP_INTERVAL: Duration = Duration::from_secs(600);

/// How long the store as a whole is left alone at least after it was looked through.
const AUDIT_PAUSE: Duration = Duration::from_secs(5);
/// How many times as long as it took: a large store takes a hundredth of a processor at most.
const AUDIT_SHARE: u32 = 100;
/// How often it is looked through while nothing is committed.
const AUDIT_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Starts all of it.
pub(super) fn start(proxy: &Arc<Proxy>, workers: &Workers) -> [JoinHandle<()>; 8] {
    let threads = workers.handles().cloned().chain([Handle::current()]);
    [
        tokio::spawn(follow_changes(Arc::clone(proxy))),
        tokio::spawn(follow_values(Arc::clone(proxy), threads.collect())),
        tokio::spawn(erase_replaced(Arc::clone(proxy))),
        tokio::spawn(audit_store(Arc::clone(proxy))),
        tokio::spawn(watch_authority(Arc::clone(proxy))),
        tokio::spawn(acceptance::keep(Arc::clone(proxy))),
        tokio::spawn(follow_issuers(Arc::clone(proxy))),
        tokio::spawn(observe::trim::watch(proxy.tasks.clone())),
    ]
}

/// Accepts the next master key as soon as `egret keys rotate` has made it, and says so: the command
/// waits for that. Only a file can come while a server runs.
pub(super) async fn follow_keys(keyring: Keyring, config: Config, announced: Arc<Announcement>) {
    let Some(next) = config.keys.next_file(&config.data_dir) else {
        return;
    };
    loop {
        tokio::time::sleep(KEY_INTERVAL).await;
        if !next.exists() {
            continue;
        }
        let before = keyring.accepted().len();
        if let Err(error) = keyring.take_next(&config.keys, &config.data_dir).await {
            tracing::error!(%error, "the next master key cannot be taken");
        }
        if keyring.accepted().len() == before {
            continue;
        }
        tracing::info!("the next master key is accepted too");
        let keys = keyring.names();
        let announced = Arc::clone(&announced);
        let announce = move || announced.change(|file| file.keys = keys);
        if let Err(error) = on_disk(announce).await.flatten() {
            tracing::error!("{error:#}");
        }
    }
}

/// Takes changes by commands into the ledger soon, also while no request comes.
async fn follow_changes(proxy: Arc<Proxy>) {
    loop {
        tokio::time::sleep(CHANGES_INTERVAL).await;
        // A store that cannot be read is logged by the vault; requests are refused meanwhile.
        let _ = proxy.changes.follow(&proxy.vault, &proxy.ledger).await;
    }
}

/// Looks through the store as a whole some seconds after each commit, by whomever, and once an hour:
/// what something other than Egret wrote is said before it is used, and whether it is or not.
async fn audit_store(proxy: Arc<Proxy>) {
    let vault = &proxy.vault;
    let mut pause = AUDIT_PAUSE;
    let (mut audited, mut is_well) = (vault.loads(), true);
    loop {
        tokio::time::sleep(pause).await;
        let begin = Instant::now();
        while is_well && vault.loads() == audited && begin.elapsed() < AUDIT_INTERVAL {
            tokio::time::sleep(AUDIT_PAUSE / 5).await;
        }
        let begin = Instant::now();
        audited = vault.loads();
        // The vault raises the alarm, which is recorded with the changes.
        is_well = vault.audit().await.is_ok();
        pause = AUDIT_PAUSE.max(begin.elapsed() * AUDIT_SHARE);
    }
}

/// Keeps the log's filter up to date, and drops values that are out of use: of what was
/// prepared for searching, of idle connections, in whose buffers they may lie, and of what calls
/// have left on the stacks of the runtimes' `threads`.
async fn follow_values(proxy: Arc<Proxy>, threads: Vec<Handle>) {
    let mut followed: Option<(u64, u64)> = None;
    // Up to which generation the log knows every value, and when all are looked through again.
    let (mut named, mut next) = (0, Instant::now());
    loop {
        let state = (proxy.vault.generation(), proxy.vault.retired());
        let is_retired = followed.is_none_or(|(_, retired)| retired != state.1);
        if is_retired || followed != Some(state) && Instant::now() >= next {
            let begin = Instant::now();
            let opening = Arc::clone(&proxy);
            let everyone = apart(move || opening.needle_cache.everyone(&opening.vault));
            if let Some(needles) = everyone.await {
                redact::know_all(state.0, needles);
            }
            proxy.needle_cache.forget_before(state.0);
            proxy.health.forget_replaced(&proxy.vault);
            proxy.counters.set_rejected(proxy.health.rejected());
            if followed.is_some_and(|(_, retired)| retired != state.1) {
                renew_upstream(&proxy);
                memory::stack::wipe_all(&threads).await;
            }
            followed = Some(state);
            named = state.0;
            next = Instant::now() + begin.elapsed() * VALUES_SHARE;
        } else if named != state.0 {
            // What was only added is known to requests, and to the log by itself.
            let (opening, since) = (Arc::clone(&proxy), followed.unwrap_or_default().0);
            let news = apart(move || opening.needle_cache.changed(&opening.vault, since));
            match news.await.flatten() {
                Some(needles) => redact::know("", state.0, &needles),
                None => next = Instant::now(),
            }
            named = state.0;
        }
        tokio::time::sleep(CHANGES_INTERVAL).await;
    }
}

/// Runs `open`, which opens values, on a thread of its own. The stack of that thread is wiped, and
/// freed with it. `None` if no thread can be started.
async fn apart<T: Send + 'static>(open: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, opened) = oneshot::channel();
    let run = move || {
        let result = open();
        memory::stack::wipe();
        // The receiver is dropped when the server ends.
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
    let renewed = running.with_new_connections();
    // If a reload came in between, its connections are new already.
    proxy.settings.compare_and_swap(&running, Arc::new(renewed));
}

/// Takes over an authority that a command rotated, and says when clients do not accept the one that
/// signs by the clock of this machine: at the start, and when that changes, since a clock may be
/// corrected later.
async fn watch_authority(proxy: Arc<Proxy>) {
    let mut before = Validity::Valid;
    let tls = proxy.settings.load().config.tls.clone();
    let stamp = || Authority::stamp(&tls.ca_cert, &tls.ca_key);
    let mut taken = stamp();
    loop {
        let found = stamp();
        if found != taken {
            let (cert, key) = (tls.ca_cert.clone(), tls.ca_key.clone());
            let load = move || Authority::load_or_create(&cert, &key);
            match tokio::task::spawn_blocking(load).await {
                Ok(Ok(authority)) => {
                    proxy.leaves.replace(authority);
                    tracing::info!("the certificate authority was read again");
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "the certificate authority stays as it is");
                }
                Err(error) => tracing::error!(%error, "the certificate authority stays as it is"),
            }
            // What is written while it is read is seen by the next look.
            taken = found;
        }
        let now = proxy.leaves.authority().validity(OffsetDateTime::now_utc());
        if now != before {
            say_validity(now);
            before = now;
        }
        tokio::time::sleep(AUTHORITY_INTERVAL).await;
    }
}

fn say_validity(validity: Validity) {
    match validity {
        Validity::Valid => tracing::info!("the certificate authority is valid now"),
        Validity::NotYet(begin) => tracing::error!(
            %begin,
            "the certificate authority is not valid yet, so clients refuse every TLS connection; \
             correct the clock, or, if it was wrong when the authority was made, move tls.ca_cert \
             and tls.ca_key away, start again, and have the clients trust the new authority"
        ),
        Validity::Over(end) => tracing::error!(
            %end,
            "the certificate authority has expired, so clients refuse every TLS connection; \
             correct the clock, or move tls.ca_cert and tls.ca_key away, start again, and have the \
             clients trust the new authority"
        ),
    }
}

/// Takes over the keys of the issuers of JWTs: issuers exchange their keys without a word. All are
/// read at once, so that none waits for another that does not answer.
async fn follow_issuers(proxy: Arc<Proxy>) {
    let mut wait = Duration::ZERO;
    loop {
        tokio::time::sleep(wait).await;
        let settings = proxy.settings.load_full();
        let mut reading = JoinSet::new();
        for (issuer, config) in settings::issuers(&settings) {
            let (issuer, config) = (Arc::clone(issuer), config.clone());
            let settings = Arc::clone(&settings);
            reading.spawn(async move { follow_issuer(&settings, &issuer, &config).await });
        }
        let outcomes = reading.join_all().await;
        let is_current = outcomes.into_iter().all(|is_current| is_current);
        wait = if is_current {
            ISSUER_INTERVAL
        } else {
            ISSUER_RETRY
        };
    }
}

/// Takes over the keys of one issuer. Returns whether that worked.
async fn follow_issuer(settings: &Settings, issuer: &Issuer, config: &config::Issuer) -> bool {
    let keys = read_keys(settings, &config.keys).await;
    let replaced = keys.and_then(|keys| Ok(issuer.replace_keys(&keys)?));
    if let Err(error) = &replaced {
        let name = &config.name;
        tracing::error!("the keys of the issuer {name:?} stay as they are: {error:#}");
    }
    replaced.is_ok()
}

async fn read_keys(settings: &Settings, place: &KeysPlace) -> anyhow::Result<Vec<u8>> {
    match place.clone() {
        KeysPlace::File(path) => {
            let read = tokio::task::spawn_blocking(move || settings::read_keys(&path)).await;
            read.map_err(anyhow::Error::from).flatten()
        }
        KeysPlace::Url(url) => fetch(settings, &url).await,
    }
}

async fn fetch(settings: &Settings, url: &str) -> anyhow::Result<Vec<u8>> {
    let trust = settings.config.upstream.ca_files.clone();
    let fetcher = Fetcher::trusting(trust, settings.way.clone()).await?;
    Ok(fetcher.get(url).await?.to_vec())
}

/// Ends memberships that the identity provider gave and has not confirmed for too long.
pub(super) async fn end_memberships(admin: AdminContext) {
    let actor = Actor::server("openid");
    loop {
        let now = clock::unix_seconds();
        if let Err(error) = admin.registrar().end_mapped(&actor, now).await {
            tracing::warn!(%error, "memberships that are too old could not be ended yet");
        }
        tokio::time::sleep(MEMBERSHIP_INTERVAL).await;
    }
}

/// Erases replaced values whose time is over, and keeps the space that this takes on a full disk.
async fn erase_replaced(proxy: Arc<Proxy>) {
    loop {
        if let Err(error) = proxy.vault.store().keep_reserve().await {
            tracing::warn!(%error, "the disk of the store has too little space left");
        }
        let now = clock::unix_seconds();
        if let Err(error) = proxy.vault.store().erase_due(now).await {
            tracing::warn!(%error, "replaced values could not be erased yet");
        }
        tokio::time::sleep(OVERLAP_INTERVAL).await;
    }
}
