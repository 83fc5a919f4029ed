//! What connections run on: threads, pacing, reading ahead, silence.

pub mod clock;
pub mod counters;
pub mod idle;
pub mod limits;
pub mod signal;
pub mod slot;
pub mod sync;
pub mod turnstile;
pub mod wide;
pub mod workers;
