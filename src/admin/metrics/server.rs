//! What the server is, and how it is.

use std::sync::Arc;

use time::OffsetDateTime;

use super::page::{Page, micros_as_seconds};
use crate::admin::part::Part;
use crate::admin::state::AdminState;
use crate::vault::{Credential, State};

/// Most credentials whose dates are told.
const MOST: usize = 512;

/// The server's part.
pub(super) fn write(page: &mut Page, state: &AdminState) {
    let name = "egret_build_info";
    page.family(name, "gauge", "The release, as a label. The value is 1.");
    page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.gauge(
        "egret_connections",
        "Connections and tunnels that are open.",
        state.connections.len(),
    );
    page.gauge(
        "egret_draining",
        "Whether the server is shutting down.",
        u8::from(state.draining.is_cancelled()),
    );
    authority(page, state);
    store(page, state);
    process(page, state);
}

/// Of the authority that signs, and of the one that takes over.
fn authority(page: &mut Page, state: &AdminState) {
    let (authority, now) = (state.leaves.authority(), OffsetDateTime::now_utc());
    page.gauge(
        "egret_ca_expiry_timestamp_seconds",
        "When the certificate of the authority that signs ends, in seconds since 1970.",
        authority.ends(now).unix_timestamp(),
    );
    let succession = authority.succession();
    let waiting = succession.filter(|next| next.from > now);
    page.gauge(
        "egret_ca_takeover_timestamp_seconds",
        "When the next authority takes over, in seconds since 1970; 0 if none waits.",
        waiting.map_or(0, |next| next.from.unix_timestamp()),
    );
    let published = succession.map(|next| next.published.unix_timestamp());
    page.gauge(
        "egret_ca_clients_before",
        "Clients that were added before the next authority was published.",
        published.map_or(0, |at| state.store.clients_before(at)),
    );
    let behind = state.leaves.behind(now);
    page.gauge(
        "egret_ca_clients_of_another",
        "Clients whose last TLS handshake another authority signed than the one that signs now.",
        behind.of_another.len(),
    );
    page.gauge(
        "egret_ca_clients_refusing",
        "Clients that refused the authority that signs now, and have not accepted it since.",
        behind.refusing.len(),
    );
}

fn store(page: &mut Page, state: &AdminState) {
    let store = &state.store;
    page.gauge(
        "egret_store_unverified",
        "Entries of the store that something other than Egret changed.",
        store.unverified(),
    );
    page.gauge(
        "egret_store_current",
        "Whether what is in memory is what the store holds.",
        u8::from(store.is_up_to_date()),
    );
    page.gauge(
        "egret_store_read_timestamp_seconds",
        "When a change of the store was last taken over, in seconds since 1970.",
        store.read_at(),
    );
    page.counter(
        "egret_store_read_failures_total",
        "Changes of the store that could not be taken over; requests were refused.",
        store.read_failures(),
    );
    page.gauge(
        "egret_credentials_active",
        "Credentials that are not revoked.",
        store.active(),
    );
    page.gauge(
        "egret_credentials_rejected",
        "Credentials that upstreams refused several times in a row.",
        state.counters.rejected(),
    );
    page.gauge(
        "egret_credentials_due",
        "Active credentials whose value is due to be rotated.",
        store.due(),
    );
}

fn process(page: &mut Page, state: &AdminState) {
    let process = (state.process)();
    page.gauge(
        "egret_memory_locked_bytes",
        "Locked memory for values.",
        process.locked,
    );
    page.gauge(
        "egret_memory_lock_exhausted",
        "Whether no more memory could be locked, so that further values can be swapped out.",
        u8::from(process.is_lock_exhausted),
    );
    page.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        micros_as_seconds(process.started_micros),
    );
    page.gauge(
        "process_resident_memory_bytes",
        "Memory of the process that is not swapped out.",
        process.resident,
    );
    page.gauge(
        "process_open_fds",
        "Open file descriptors.",
        process.open_files,
    );
    page.gauge(
        "process_max_fds",
        "How many file descriptors there can be.",
        process.most_files,
    );
    page.counter(
        "process_cpu_seconds_total",
        "Time on a core, in user mode and in the kernel.",
        process.cpu.as_secs_f64(),
    );
}

/// The dates of credentials.
pub(super) fn write_named(page: &mut Page, credentials: &[Arc<Credential>], now: i64) {
    let active = credentials
        .iter()
        .filter(|credential| credential.state == State::Active);
    let named = active.map(|one| ((one.owner.as_str(), one.slug.as_str()), one));
    let active = Part::of(named, None, MOST).items;
    let mut family = |name: &str, help: &str, value: fn(&Credential, i64) -> Option<i64>| {
        page.family(name, "gauge", help);
        for ((owner, slug), credential) in &active {
            if let Some(value) = value(credential, now) {
                page.sample(name, &[("owner", owner), ("slug", slug)], value);
            }
        }
    };
    family(
        "egret_credential_age_seconds",
        "How long the value has been in force.",
        |credential, now| Some(now.saturating_sub(credential.rotated).max(0)),
    );
    family(
        "egret_credential_due_timestamp_seconds",
        "When the value is due to be rotated, in seconds since 1970.",
        |credential, _| credential.rotation_due(),
    );
    family(
        "egret_credential_expiry_timestamp_seconds",
        "When the credential expires, in seconds since 1970.",
        |credential, _| credential.grant.expires,
    );
}
