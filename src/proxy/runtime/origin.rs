//! A destination as ledger, log and metrics show it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::measure::{Histogram, Remembered};
use crate::policy::destination::Destination;

/// What is measured of a destination.
#[derive(Default)]
pub struct OfDestination {
    /// From the begin of a request to the head of its answer.
    pub latency: Histogram,
    /// Requests that it did not answer.
    pub failures: AtomicU64,
}

/// A destination as text, `https://host:port`, with what was measured of it. A tunnel has one for all of
/// its requests.
#[derive(Clone)]
pub struct Origin(Arc<Inner>);

struct Inner {
    text: Box<str>,
    measured: Remembered<OfDestination>,
}

impl Origin {
    /// Where its measures were found.
    pub fn measured(&self) -> &Remembered<OfDestination> {
        &self.0.measured
    }
}

impl From<&Destination> for Origin {
    fn from(destination: &Destination) -> Self {
        Self(Arc::new(Inner {
            text: destination.to_string().into(),
            measured: Remembered::default(),
        }))
    }
}

impl Deref for Origin {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
