//! What connections run on: threads, pacing, reading ahead, silence.

pub mod aside;
pub mod budget;
pub mod counters;
pub mod fair_share;
pub mod idle;
pub mod limits;
pub mod measures;
pub mod origin;
pub mod pacing;
pub mod read_ahead;
pub mod seen;
pub mod signal;
pub mod slot;
pub mod sync;
pub mod tcp_or_tls;
pub mod workers;
