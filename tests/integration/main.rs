//! Egret from the outside: the built binary, real sockets, real clients.
//!
//! Nothing here links against Egret's library. A [`world::World`] is a running `egret serve` with a
//! data directory, a configuration and recording upstreams of its own. Tests drive it through its
//! ports and its command line, and check what arrived upstream, what came back and what is on disk.

use std::future::Future;
use std::sync::Once;
use std::time::Duration;

mod adopted;
mod answers;
mod api;
mod architecture;
mod asked;
mod attached;
mod authentication;
mod backup;
mod base_url;
mod base_url_unix;
mod bound;
mod bounds;
mod breaks;
mod browser;
mod ca_install;
mod client;
mod client_keys;
mod clients;
mod coded;
mod commands;
mod corpus;
mod credentials;
mod declared;
mod dependencies;
mod deploy;
mod destination;
mod docs;
mod doctor;
mod doctor_clients;
mod durability;
mod durability_faults;
mod durability_files;
mod durability_kill;
mod durability_space;
mod early;
mod egress;
mod exposed;
mod fields;
mod first_start;
mod flowing;
mod framing;
mod golden;
mod hand_over;
mod heads;
mod health;
mod hints;
mod http2;
mod hunt;
mod import;
mod issuer;
mod keys;
mod leak;
mod leak_hunt;
mod leaving;
mod ledger_files;
mod ledger_read;
mod ledger_tampered;
mod life;
mod load;
mod metrics;
mod misused_codings;
mod needs;
mod openid;
mod page;
mod parent_proxy;
mod pipelined;
mod pki;
mod places;
mod proxy_tls;
mod redirected;
mod resent;
mod rotation;
mod running;
mod scanning;
mod scrubbed;
mod scrubbed_names;
mod scrubbed_streams;
mod sharing;
mod shipped;
mod signin;
mod silences;
mod soak;
mod socks;
mod stalls;
mod stand_ins;
mod statuses;
mod store_faults;
mod store_space;
mod stored;
mod streaming;
mod streaming_order;
mod succession;
mod taken_back;
mod terminal;
mod top;
mod traced;
mod tunnels;
mod upgrade;
mod uploads;
mod upstream;
mod upstream_faults;
mod upstream_tls;
mod websocket;
mod wire;
mod witnessed;
mod world;

/// The longest that a test waits for something that takes milliseconds on an idle machine: a debug
/// build on two busy cores may need this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `future` and fails the test when it takes too long, saying what was waited for.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_secs(PATIENCE.as_secs(), what, future).await
}

/// [`within`] for things that are meant to take a known time.
async fn within_secs<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {seconds} s in vain for {what}"),
    }
}

/// Polls until there is a result, and fails the test when there is none in time.
async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Raises the limit of open files to the hard limit; servers that start later inherit it.
fn more_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).expect("raise the file limit");
    });
}
