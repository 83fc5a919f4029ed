//! Why the store did not do what it was asked.

use crate::error::{Code, Refusal};
use crate::policy::floor::FloorViolation;
use crate::policy::share_limits::WiderThanOwner;
use crate::substitution::slug::Slug;
use crate::vault::access::ApiTokenId;
use crate::vault::name::{ClientName, GroupName, Principal};
use crate::vault::people::{BundleId, MOST_MEMBERS};
use crate::vault::rights::Forbidden;
use crate::vault::seal::SealError;

/// The store cannot be read or written. Holds a reason for the log, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential store is not available: {reason}")]
pub struct StoreUnavailable {
    /// What failed, for the operator's log.
    pub reason: String,
    is_alarming: bool,
}

impl StoreUnavailable {
    /// With a reason for the log.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_alarming: false,
        }
    }

    /// The store is not what Egret wrote.
    pub fn alarming(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_alarming: true,
        }
    }

    /// Whether the store is not what Egret wrote, rather than out of reach.
    pub fn is_alarming(&self) -> bool {
        self.is_alarming
    }
}

impl StoreUnavailable {
    /// Rows verify one by one, but are not all those that Egret wrote last: some are of an earlier
    /// time, or missing, or were added.
    pub fn foreign_rows(what: &str) -> Self {
        Self::alarming(format!(
            "the {what} in the database are not those that Egret wrote last: a row of an earlier \
             time was put back, or one was removed or added. Nothing is used. Restore a backup; \
             `egret store accept` takes what is there, and records it"
        ))
    }
}

impl From<StoreUnavailable> for Refusal {
    /// The reason stays in the log: it can hold a path of this machine.
    fn from(_: StoreUnavailable) -> Self {
        Refusal::new(
            Code::StoreUnavailable,
            "The credential store cannot be read, so nothing was sent. \
             The reason is in Egret's log, for its operator.",
        )
    }
}

impl StoreError {
    /// Whether the store is not what Egret wrote last, rather than out of reach.
    pub fn is_alarming(&self) -> bool {
        match self {
            StoreError::Older { .. } | StoreError::Replaced => true,
            StoreError::Unavailable(unavailable) => unavailable.is_alarming(),
            _ => false,
        }
    }
}

/// Why an administrative change was not made. The store is unchanged then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No credential of that owner and slug.
    #[error("{owner} has no credential `{slug}`")]
    NotFound {
        /// The owner asked for.
        owner: Principal,
        /// The slug asked for.
        slug: Slug,
    },
    /// The slug is taken, maybe by a revoked credential.
    #[error(
        "{owner} already has a credential `{slug}`: rotate it to change its value, or delete it first"
    )]
    Exists {
        /// Owner of the existing credential.
        owner: Principal,
        /// The slug.
        slug: Slug,
    },
    /// It is not as the one who asked for the change saw it.
    #[error("it was changed in the meantime; look at it again before you change it")]
    Changed,
    /// Meanwhile it was deleted and added again with another kind.
    #[error("the credential `{0}` changed its kind in the meantime; nothing was changed")]
    KindChanged(Slug),
    /// The requester knows of it, and may not do this to it.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// No user of that name.
    #[error("there is no user `{0}`; `egret user add {0}` adds one")]
    UserNotFound(Principal),
    /// The user name is taken. Names are never used again.
    #[error("there is already a user `{0}`")]
    UserExists(Principal),
    /// A name that means something else.
    #[error("`everyone` means all users and cannot be the name of one")]
    ReservedName,
    /// A store without an administrator could only be managed on its own host.
    #[error("{0} is the last active administrator; make another user one first")]
    LastAdministrator(Principal),
    /// No group of that name.
    #[error("there is no group `{0}`; `egret group add {0}` adds one")]
    GroupNotFound(GroupName),
    /// The group name is taken.
    #[error("there is already a group `{0}`")]
    GroupExists(GroupName),
    /// Something still names the group.
    #[error(
        "the group `{name}` is still named by {}. Take the share back or remove the rule first; a \
         share that ended counts for a day, because its value is still searched for",
        listed(uses)
    )]
    GroupInUse {
        /// The group.
        name: GroupName,
        /// What names it.
        uses: Vec<String>,
    },
    /// No bundle of that owner and name.
    #[error("there is no bundle {0}")]
    BundleNotFound(BundleId),
    /// The bundle name is taken.
    #[error("there is already a bundle {0}")]
    BundleExists(BundleId),
    /// No question of that id waits, or it was answered.
    #[error("no question {0} waits for an answer; `egret approvals list` shows those that do")]
    ApprovalNotFound(String),
    /// No request for a credential of that number.
    #[error("no credential is asked for under number {0}; `egret requests list` shows what is")]
    KeyRequestNotFound(i64),
    /// No egress rule of that number.
    #[error("there is no egress rule {0}; `egret egress list` shows them")]
    EgressNotFound(i64),
    /// More than a store holds.
    #[error("there are too many {0}; at most {MOST_MEMBERS} are kept")]
    TooMany(&'static str),
    /// A share would allow more than the owner's own limits.
    #[error(transparent)]
    Wider(#[from] WiderThanOwner),
    /// The operator's floor does not permit it.
    #[error(transparent)]
    Floor(#[from] FloorViolation),
    /// A field of the request is not usable.
    #[error("{0}")]
    Invalid(&'static str),
    /// The credential has no rule of that number.
    #[error("nothing is attached under number {0}; `egret credential show SLUG` shows what is")]
    AttachmentNotFound(u32),
    /// The credential has no such stand-in.
    #[error(
        "that is no stand-in of this credential; `egret credential show SLUG` shows those it has"
    )]
    StandInNotFound,
    /// There is no version to do this with.
    #[error("{0}")]
    NoVersion(&'static str),
    /// The store is older than the ledger's last administrative line.
    #[error(
        "the store is older than the ledger: it has change {found}, and change {on_record} is on \
         record. It is not used, because what was revoked since would work again. Put the newer \
         file back. If it is lost, `egret store accept` takes this one, and records it"
    )]
    Older {
        /// The store's revision.
        found: i64,
        /// The revision on record.
        on_record: i64,
    },
    /// A file without Egret's authentication is in the place of one that had it.
    #[error(
        "the store was replaced: this file is empty or of an older version, and a newer one is on \
         record. Put the newer file back. If it is lost, `egret store accept` takes this one, and \
         records it"
    )]
    Replaced,
    /// A credential is not shared with its own owner.
    #[error("{0} owns the credential; there is nothing to share")]
    OwnCredential(Principal),
    /// No client of that name.
    #[error("there is no client `{0}`")]
    ClientNotFound(ClientName),
    /// No token of that id.
    #[error("there is no token {0}")]
    TokenNotFound(ApiTokenId),
    /// A one-time link that is unknown, was used, or is too old.
    #[error("this link does not work any more: it was used, replaced, or is older than an hour")]
    LinkOver,
    /// A link was asked for by someone who could sign in with it as somebody else.
    #[error("{0} has an account already; on the host, `egret user reset {0}` makes a link")]
    HasAccount(Principal),
    /// The client name is taken.
    #[error("there is already a client `{0}`: remove it first, its token stops working at once")]
    ClientExists(ClientName),
    /// The store belongs to another master key.
    #[error(
        "the store's values were sealed under master key {expected}, but the key loaded is {found}. \
         Put the old key back, or start with a new data directory; \
         if the key file was missing, a new one was created, which the old one can replace"
    )]
    OtherKey {
        /// Name of the key the store was sealed with.
        expected: String,
        /// Name of the key that was loaded.
        found: String,
    },
    /// The value could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store itself failed.
    #[error(transparent)]
    Unavailable(#[from] StoreUnavailable),
}

/// The first of some names, and how many more there are.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if let Some(more @ 1..) = names.len().checked_sub(SHOWN) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
