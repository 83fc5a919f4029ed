//! What a parent proxy is asked for, and why it has not connected.

use std::borrow::Cow;
use std::io;

use crate::error::{Code, Refusal};
use crate::policy::destination::Host;

/// What a parent proxy is asked to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name, which the parent resolves, or an address.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// Why a parent proxy has not connected.
#[derive(Debug)]
pub(super) enum Failed {
    /// The connection to it broke.
    Io(io::Error),
    /// It said no, or was not asked.
    Refused(Refusal),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

pub(super) fn proxy_failed(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::UpstreamProxyFailed, detail)
}

/// The parent has said that it does not reach the target.
pub(super) fn unreachable(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::UpstreamUnreachable, detail)
}
