//! How often a credential may be used, as options of `add` and `allow`.

use clap::Args;

use crate::policy::use_limits::{Asking, Budget, Copies, UseLimits, UsesChange};

/// How often a credential may be used.
#[derive(Args)]
pub(super) struct Uses {
    /// How often one request may carry the value: a number, or any; once for a new credential
    ///
    /// A second copy could ride along in a field that others can read.
    #[arg(long, value_name = "NUMBER")]
    copies: Option<Copies>,
    /// How many requests may use it in a time: 5/s, 60/m, 100/h, 1000/d or unlimited
    #[arg(long, value_name = "RATE")]
    max_uses: Option<Budget>,
    /// Whether its owner is asked about uses: first-use, always or never
    ///
    /// `first-use` asks once for each client, action and destination, `always` each time. The request
    /// waits for the answer, see `egret approvals`.
    #[arg(long, value_name = "WHEN")]
    approve: Option<Asking>,
}

impl Uses {
    fn wanted(&self) -> UsesChange {
        UsesChange {
            copies: self.copies,
            budget: self.max_uses,
            approve: self.approve,
        }
    }

    /// Whether no option was given.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted().is_empty()
    }

    /// The limits with what was given.
    pub(super) fn change(&self, before: UseLimits) -> UseLimits {
        self.wanted().apply(before)
    }
}
