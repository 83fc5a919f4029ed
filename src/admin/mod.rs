//! The admin listener: liveness, readiness and metrics. It answers without authentication and says
//! nothing but yes, no and numbers, so it can be probed by anything on the host.
//!
//! What it holds is [`AdminState`]: probes, counters and signals, none of which reaches a value, a
//! key or a way to write.

mod metrics;
mod server;
mod state;

pub use self::server::run;
pub use self::state::AdminState;
