//! What can become of a client's request.

use serde::Serialize;

/// What became of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli::doctor) enum Outcome {
    /// The value arrived.
    Works,
    /// It ran, and nothing came to the proxy.
    GoesRoundTheProxy,
    /// It began TLS through the proxy, and sent no request.
    DoesNotTrustTheCa,
    /// Its request arrived, and the placeholder was none any more.
    AltersThePlaceholder,
    /// It speaks no HTTP, so there is nothing to try.
    SpeaksNoHttp,
    /// None of these was seen.
    Unknown,
}

impl Outcome {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::GoesRoundTheProxy => "goes round the proxy",
            Self::DoesNotTrustTheCa => "does not trust the CA",
            Self::AltersThePlaceholder => "alters the placeholder",
            Self::SpeaksNoHttp => "speaks no HTTP",
            Self::Unknown => "unknown",
        }
    }
}

/// What arrived at the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    Nothing,
    /// A request without the value.
    Request,
    /// A request with the value.
    Value,
}
