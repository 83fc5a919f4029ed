//! What connections run on: threads, pacing, reading ahead, silence.

pub mod counters;
pub mod idle;
pub mod limits;
pub mod pacing;
pub mod read_ahead;
pub mod signal;
pub mod slot;
pub mod sync;
pub mod workers;
