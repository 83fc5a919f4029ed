//! Whom a rule is about.

use clap::Args;

use crate::vault::egress::Subject;
use crate::vault::people::Grantee;
use crate::vault::{CallerName, GroupName, Principal};

/// Whom a rule is about; everyone without any of these.
#[derive(Args)]
#[group(multiple = false)]
pub(super) struct Who {
    /// One client, as the ledger names it: ci, or jwt:system:serviceaccount:build:ci
    #[arg(long, value_name = "CLIENT")]
    client: Option<CallerName>,
    /// The clients of a user
    #[arg(long, value_name = "USER")]
    user: Option<Principal>,
    /// The clients of the users of a group
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupName>,
}

impl Who {
    pub(super) fn subject(self) -> Subject {
        let user = self.user.map(Grantee::User);
        let group = self.group.map(Grantee::Group);
        match self.client {
            Some(client) => Subject::Client(client),
            None => Subject::Of(user.or(group).unwrap_or(Grantee::Everyone)),
        }
    }
}
