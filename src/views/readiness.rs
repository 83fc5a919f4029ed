//! Whether the server can serve.

use serde::Serialize;

/// `/readyz`.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// It takes requests: it is not shutting down.
    pub proxy: bool,
    /// The credentials are known as of now.
    pub store: bool,
    /// The last write to the ledger succeeded.
    pub ledger: bool,
}

impl Readiness {
    /// Whether all of them are ready.
    pub fn is_ready(&self) -> bool {
        self.proxy && self.store && self.ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_their_names_and_order() {
        let mut readiness = Readiness {
            proxy: true,
            store: true,
            ledger: true,
        };
        assert!(readiness.is_ready());
        readiness.store = false;
        assert!(!readiness.is_ready());
        assert_eq!(
            serde_json::to_string(&readiness).unwrap(),
            r#"{"proxy":true,"store":false,"ledger":true}"#
        );
    }
}
