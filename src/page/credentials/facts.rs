//! What pages say of one credential.

use std::sync::Arc;

use crate::admin::AdminContext;
use crate::page::failure::Failure;
use crate::page::fields::Fields;
use crate::page::person::Person;
use crate::page::text;
use crate::page::when::When;
use crate::proxy::exchange::health::CredentialHealth;
use crate::substitution::slug::Slug;
use crate::vault::rights::{Requester, Right, Verdict};
use crate::vault::store::{Condition, ObjectName};
use crate::vault::{Credential, Principal, Registrar, Sight, State};

/// A state of a credential that is worth a word.
/// In the order of their urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::page) enum Badge {
    Rejected,
    Expiring,
    Expired,
    Due,
    Staged,
    Active,
    Revoked,
}

impl Badge {
    /// The filter for it, and the class of its colours.
    pub(in crate::page) fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expiring => "expiring",
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Due => "due",
            Self::Staged => "staged",
        }
    }

    /// For people.
    pub(in crate::page) fn label(self) -> &'static str {
        match self {
            Self::Rejected => "Rejected",
            Self::Expiring => "Expires soon",
            Self::Active => "Active",
            Self::Revoked => "Revoked",
            Self::Expired => "Expired",
            Self::Due => "Due for rotation",
            Self::Staged => "Staged version",
        }
    }
}

/// Seconds before its end in which a credential is named as expiring.
const SOON: i64 = 14 * 86_400;

/// The states of a credential at `now`, what is urgent first.
pub(in crate::page) fn badges(
    credential: &Credential,
    health: &CredentialHealth,
    now: i64,
) -> Vec<Badge> {
    let is_usable = credential.state == State::Active && !credential.grant.expired(now);
    let ends = credential.grant.expires;
    let mut badges = Vec::new();
    if is_usable && health.rejected_since(credential).is_some() {
        badges.push(Badge::Rejected);
    }
    if is_usable && ends.is_some_and(|at| at <= now.saturating_add(SOON)) {
        badges.push(Badge::Expiring);
    }
    if credential.state == State::Revoked {
        badges.push(Badge::Revoked);
    } else if credential.grant.expired(now) {
        badges.push(Badge::Expired);
    } else {
        badges.push(Badge::Active);
    }
    if credential.state == State::Active && credential.rotation_due().is_some_and(|at| at <= now) {
        badges.push(Badge::Due);
    }
    if credential.staged_version().is_some() {
        badges.push(Badge::Staged);
    }
    badges
}

/// The credentials that may have another state than active or revoked, each once.
pub(in crate::page) fn with_a_state(
    sight: &Sight,
    health: &CredentialHealth,
) -> Vec<Arc<Credential>> {
    let mut found = sight.dated();
    let rejected = health.rejected_names();
    let rejected = rejected.iter();
    found.extend(rejected.filter_map(|(owner, slug)| sight.credential(owner, slug)));
    let name = |one: &Arc<Credential>| (one.slug.clone(), one.owner.clone());
    found.sort_by_cached_key(name);
    found.dedup_by_key(|one| name(one));
    found
}

/// The address of a credential's page.
pub(in crate::page) fn path(owner: &Principal, slug: &Slug) -> String {
    let (owner, slug) = (text::encoded(owner.as_str()), text::encoded(slug.as_str()));
    format!("/settings/credentials/{owner}/{slug}")
}

/// One credential, as somebody asked for it.
pub(super) struct Asked {
    pub(super) credential: Arc<Credential>,
    pub(super) sight: Sight,
}

impl Asked {
    /// The credential of an address, if the person may know of it.
    pub(super) async fn of(
        context: &AdminContext,
        person: &Person,
        owner: &str,
        slug: &str,
    ) -> Result<Self, Failure> {
        let sight = person.look(context).await?;
        Self::seen(sight, owner, slug)
    }

    /// The same, for whom this is what they may know of.
    pub(super) fn seen(sight: Sight, owner: &str, slug: &str) -> Result<Self, Failure> {
        let owner = Principal::parse(owner).map_err(|_| Failure::not_found())?;
        let slug = Slug::parse(slug).map_err(|_| Failure::not_found())?;
        let found = sight.credential(&owner, &slug);
        let credential = found.ok_or_else(Failure::not_found)?;
        Ok(Self { credential, sight })
    }

    /// The address of its page.
    pub(super) fn path(&self) -> String {
        path(&self.credential.owner, &self.credential.slug)
    }

    /// Whether the person may do this to it.
    pub(super) fn may(&self, right: Right) -> bool {
        let viewer = self.sight.viewer();
        let user = self.sight.user(viewer);
        let uses = self.sight.uses(&self.credential);
        Requester::User(viewer, user).may(right, &self.credential.owner, uses) == Verdict::Allowed
    }

    /// Demands that the person may do this to it, before a form for it is shown.
    pub(super) fn demand(&self, right: Right) -> Result<(), Failure> {
        use crate::admin::{AdminProblem, Trouble};
        if self.may(right) {
            return Ok(());
        }
        Err(Failure::Problem(AdminProblem::because(
            Trouble::Forbidden,
            "Only the owner may do this. An administrator may revoke and delete.",
        )))
    }

    /// Whether the form that was sent shows it as it was before another change.
    pub(super) fn is_stale(&self, fields: &Fields) -> bool {
        fields.text("revision").parse::<i64>() != Ok(self.credential.revision)
    }

    /// Makes changes to it, as long as it is as the form showed it.
    pub(super) fn registrar(&self, context: &AdminContext, revision: &str) -> Registrar {
        let object = ObjectName::credential(&self.credential.owner, &self.credential.slug);
        // A form without a revision is none of ours: no credential has this one.
        let revision = revision.parse().unwrap_or(i64::MIN);
        context.registrar().when(Condition { object, revision })
    }
}

/// The limits of a credential or a share, each with its name.
pub(super) fn texts<T: ToString>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

/// When, or a dash.
pub(super) fn when(unix: Option<i64>) -> String {
    unix.map_or_else(|| "–".to_owned(), |unix| When::at(unix).html())
}
