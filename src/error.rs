//! Refusals: the closed set of codes, and the only error a client ever sees.
//!
//! Every failure of a request ends as a [`Refusal`]. Its `detail` is a text of our own for the
//! person who has to fix the request. It holds nothing that was derived from a secret value:
//! library errors are never formatted into it, because HTTP libraries put whole URLs into theirs.
//! Only [`crate::proxy::response::problem`] turns a refusal into an HTTP response.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Declares [`Code`] and its tables from one list, so that a code cannot lack a status or a title.
macro_rules! codes {
    ($( $variant:ident, $status:literal, $name:literal, $title:literal, $proxy_status:literal; )*) => {
        /// An error code of the proxy. The names are in the reference and frozen by a golden
        /// file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $(
            #[doc = $title]
            $variant,
        )* }

        impl Code {
            /// Every code, in the order of the reference.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The name that goes into `Egret-Error`, the problem body and the ledger.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }

            /// The HTTP status code of the answer.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }

            /// A short summary that does not change from one occurrence to the next (RFC 9457
            /// section 3.1.3).
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),* }
            }

            /// The `error` parameter of `Proxy-Status`: a proxy error type of RFC 9209 section 2.3.
            pub fn proxy_status(self) -> &'static str {
                match self { $(Code::$variant => $proxy_status),* }
            }
        }
    };
}

codes! {
    ProxyAuthRequired, 407, "proxy_auth_required", "Proxy authentication is required", "http_request_denied";
    CredentialNotFound, 424, "credential_not_found", "No usable credential of that slug", "http_request_denied";
    CredentialNotAllowed, 403, "credential_not_allowed", "The credential may not be used here", "http_request_denied";
    CredentialAmbiguous, 409, "credential_ambiguous", "More than one shared credential has that slug", "http_request_denied";
    CredentialFieldUnknown, 422, "credential_field_unknown", "The credential has no such field", "http_request_denied";
    CredentialUnencodable, 422, "credential_unencodable", "The value cannot be written at that place", "http_request_denied";
    ApprovalRequired, 403, "approval_required", "The owner has not said yes", "http_request_denied";
    CredentialRequired, 403, "credential_required", "The destination needs a value that Egret puts in", "http_request_denied";
    RateLimited, 429, "rate_limited", "There are too many requests", "http_request_denied";
    DestinationForbidden, 403, "destination_forbidden", "The destination is refused by policy", "destination_ip_prohibited";
    DestinationNotAllowed, 403, "destination_not_allowed", "The client may not go there", "http_request_denied";
    DestinationMismatch, 421, "destination_mismatch", "CONNECT, TLS server name and Host disagree", "http_request_denied";
    CrossSite, 403, "cross_site", "A web page made the request", "http_request_denied";
    RequestSigned, 422, "request_signed", "The bytes to be changed are covered by a signature or digest", "http_request_denied";
    SecretExposed, 403, "secret_exposed", "The request carries a stored secret in the clear", "http_request_denied";
    ExposureLimit, 429, "exposure_limit", "Too many requests carried stored secrets", "http_request_denied";
    RequestMalformed, 400, "request_malformed", "The request is malformed", "http_request_error";
    UpgradeUnsupported, 501, "upgrade_unsupported", "The upgrade is not supported", "http_upgrade_failed";
    RequestAmbiguous, 400, "request_ambiguous", "The request can be read in more than one way", "http_request_error";
    BodyTooLarge, 413, "body_too_large", "The body is too large", "http_request_error";
    BodyEncodingUnsupported, 415, "body_encoding_unsupported", "The body's coding cannot be opened", "http_request_error";
    TargetTooLong, 414, "target_too_long", "The request target is too long", "http_request_error";
    HeadersTooLarge, 431, "headers_too_large", "The header section is too large", "http_request_error";
    LoopDetected, 508, "loop_detected", "The destination is the proxy itself", "proxy_loop_detected";
    UpstreamUnreachable, 502, "upstream_unreachable", "The upstream cannot be reached", "destination_unavailable";
    UpstreamProxyFailed, 502, "upstream_proxy_failed", "The proxy towards the upstream failed", "proxy_configuration_error";
    UpstreamTlsFailed, 502, "upstream_tls_failed", "TLS with the upstream failed", "tls_protocol_error";
    UpstreamProtocolError, 502, "upstream_protocol_error", "The upstream broke the protocol", "http_protocol_error";
    UpstreamTimeout, 504, "upstream_timeout", "The upstream took too long", "connection_timeout";
    ResponseUnscannable, 502, "response_unscannable", "The answer cannot be searched for secrets", "http_response_transfer_coding";
    LedgerUnavailable, 503, "ledger_unavailable", "The use cannot be recorded", "proxy_internal_error";
    StoreUnavailable, 503, "store_unavailable", "The credential store cannot be read", "proxy_internal_error";
    Overloaded, 503, "overloaded", "The proxy is at its limit", "connection_limit_reached";
    ShuttingDown, 503, "shutting_down", "The proxy is shutting down", "proxy_internal_response";
    Internal, 500, "internal", "The proxy failed", "proxy_internal_error";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that Egret does not carry out, and what its sender needs to fix it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// What failed.
    pub code: Code,
    /// How to fix it, in words. Holds nothing derived from a secret value.
    pub detail: Cow<'static, str>,
    /// The slug concerned, as the request named it.
    pub slug: Option<String>,
    /// The place of the placeholder, `header:authorization`.
    pub location: Option<String>,
    /// The destination concerned, `https://api.example.com:443`.
    pub destination: Option<String>,
    /// After how many seconds the same request may get through.
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal with a code, and how to fix the request.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            slug: None,
            location: None,
            destination: None,
            retry_after: None,
        }
    }

    /// Names the slug concerned.
    pub fn slug(mut self, slug: impl Into<String>) -> Self {
        self.slug = Some(slug.into());
        self
    }

    /// Names the place concerned.
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Says when the same request may get through.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        self
    }

    /// Names the destination concerned.
    pub fn destination(mut self, destination: impl Into<String>) -> Self {
        self.destination = Some(destination.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users rely on the codes: the golden file changes only together with the reference.
    #[test]
    fn codes_are_frozen() {
        let table: String = Code::ALL
            .iter()
            .map(|code| format!("{} {} {}\n", code.status(), code, code.proxy_status()))
            .collect();
        assert_eq!(table, include_str!("../tests/golden/codes.txt"));
    }
}
