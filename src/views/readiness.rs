//! Whether the server can serve.

use serde::Serialize;

/// `/readyz`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
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

/// `egret health`.
#[derive(Debug, Serialize)]
pub struct Health<'a> {
    /// Whether the server said that it is.
    pub healthy: bool,
    /// What it said.
    pub detail: &'a str,
}

/// `egret health --deep`.
#[derive(Debug, Serialize)]
pub struct DeepHealth {
    /// Whether every check passed.
    pub healthy: bool,
    /// What was looked at.
    pub checks: Vec<DeepCheck>,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct DeepCheck {
    /// `request`, `value`, `answer` or `ledger`.
    pub name: &'static str,
    /// Whether it passed.
    pub passed: bool,
    /// What was found.
    pub detail: String,
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
