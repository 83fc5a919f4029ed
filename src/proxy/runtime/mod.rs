//! What connections run on: threads, pacing, reading ahead, silence.

pub mod counters;
pub mod idle;
pub mod turnstile;
pub mod wide;
pub mod workers;
