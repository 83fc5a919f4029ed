//! Where alerts go, and which lines of the ledger are alerts: `[alerts]`.

use std::path::PathBuf;

use http::Uri;

use crate::ledger::event;
use crate::vault::store::Event;

/// Stands for `use` lines of which something is new, among events.
pub const FIRST_USE: &str = "first_use";

/// `[alerts]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// The webhook, if there is one.
    pub url: Option<Uri>,
    /// The file with the secret that signs them.
    pub secret: Option<PathBuf>,
    /// The events of ledger lines that are sent.
    pub events: Vec<String>,
}

/// Every event of the ledger: of requests, then administrative ones.
pub fn event_names() -> impl Iterator<Item = &'static str> {
    let administrative = Event::ALL.iter().map(|event| event.as_str());
    event::ALL.iter().copied().chain(administrative)
}
