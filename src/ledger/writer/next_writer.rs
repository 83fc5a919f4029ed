//! The process to which a writer gives way.

use std::io;

/// The process that writes the ledger next.
pub trait NextWriter: Send {
    /// Lets it open the ledger, which is closed here, and waits until it has. The first line of the requests
    /// that go on here is for [`Options::follows`](super::Options::follows).
    ///
    /// # Errors
    /// Why it does not write. It has ended then, and with it what it held of the ledger.
    fn begin(&mut self, first: Option<u64>) -> io::Result<()>;

    /// Has lines written there, given as text for [`Relayed::write`](super::Relayed::write). Returns whether they are durable.
    ///
    /// # Errors
    /// When it has ended. Then nothing is ever written there again.
    fn write(&mut self, lines: &[u8]) -> io::Result<bool>;
}

/// The next writer does not write the ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotFollowed {
    /// Why.
    pub reason: String,
    /// Whether this process writes it again, as before. Otherwise nobody does.
    pub is_back: bool,
}
