//! Numbers that many threads add to and anyone may read: durations, and what is counted by name.
//!
//! Everything is a relaxed atomic. To add takes no lock and, once a name is known, no allocation, so a
//! request can afford it.

pub mod histogram;
pub mod names;

pub use histogram::{BOUNDS, Histogram, Latency};
pub use names::{Names, Remembered};
