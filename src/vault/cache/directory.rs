//! Users, groups and clients, prepared for requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::clients::ClientIndex;
use super::egress_directory::EgressDirectory;
use crate::substitution::slug::Slug;
use crate::vault::approval::Approval;
use crate::vault::key_request::KeyRequest;
use crate::vault::model::OVERLAP;
use crate::vault::name::Principal;
use crate::vault::people::{Bundle, BundleId, Grantee, Share};
use crate::vault::store::Directory;
use crate::vault::token_id::TokenId;

/// As whom a user receives what is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The user, the groups the user is in, and everyone.
    pub(super) present: Arc<[Grantee]>,
    /// These, and the groups that the user left a short time ago: their values are still searched
    /// for.
    pub(super) searched: Arc<[Grantee]>,
}

fn bundle_offers(
    bundles: &BTreeMap<BundleId, Bundle>,
) -> HashMap<Grantee, HashMap<Slug, Vec<BundleOffer>>> {
    let mut offers: HashMap<Grantee, HashMap<Slug, Vec<BundleOffer>>> = HashMap::new();
    for (id, bundle) in bundles {
        for share in &bundle.shares {
            let share = Arc::new(share.clone());
            for (alias, slug) in &bundle.entries {
                let slugs = offers.entry(share.with.clone()).or_default();
                slugs.entry(alias.clone()).or_default().push(BundleOffer {
                    owner: id.owner.clone(),
                    slug: slug.clone(),
                    share: Arc::clone(&share),
                });
            }
        }
    }
    offers
}

fn by_credential(
    all: BTreeMap<String, Approval>,
) -> HashMap<(Principal, Slug), Vec<(String, Approval)>> {
    let mut approvals: HashMap<_, Vec<_>> = HashMap::new();
    for (id, approval) in all {
        let name = (approval.owner.clone(), approval.slug.clone());
        approvals.entry(name).or_default().push((id, approval));
    }
    approvals
}

/// Everyone who may use something.
#[derive(Default)]
pub(super) struct DirectoryIndex {
    /// The clients of users that are not disabled.
    pub(super) clients: ClientIndex,
    standings: HashMap<Principal, Standing>,
    disabled: BTreeSet<Principal>,
    /// Everyone, for those who ask what there is.
    pub(super) all: Directory,
    /// What bundles offer to whom, by the slug under which they offer it.
    offers: HashMap<Grantee, HashMap<Slug, Vec<BundleOffer>>>,
    /// Credentials that are asked for.
    pub(super) key_requests: BTreeMap<i64, KeyRequest>,
    /// Where clients may go.
    pub(super) egress: EgressDirectory,
    /// What owners were asked and said, by credential.
    pub(super) approvals: HashMap<(Principal, Slug), Vec<(String, Approval)>>,
}

/// A credential that is offered through a bundle.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct BundleOffer {
    pub(super) owner: Principal,
    pub(super) slug: Slug,
    pub(super) share: Arc<Share>,
}

impl DirectoryIndex {
    /// As of `now` (unix seconds).
    pub(super) fn new(mut directory: Directory, now: i64) -> Self {
        let mut groups: BTreeMap<&Principal, Vec<(Grantee, bool)>> = BTreeMap::new();
        for (name, group) in &directory.groups {
            for (user, membership) in &group.members {
                let is_present = membership.ended.is_none();
                let searched = |at: i64| at.saturating_add(OVERLAP) > now;
                if membership.ended.is_none_or(searched) {
                    let grantee = Grantee::Group(name.clone());
                    groups.entry(user).or_default().push((grantee, is_present));
                }
            }
        }
        let standings = groups.iter().map(|(user, groups)| {
            let of = |present_only: bool| {
                let groups = groups
                    .iter()
                    .filter(|(_, present)| *present || !present_only);
                let groups = groups.map(|(grantee, _)| grantee.clone());
                [Grantee::User((*user).clone()), Grantee::Everyone]
                    .into_iter()
                    .chain(groups)
                    .collect()
            };
            let standing = Standing {
                present: of(true),
                searched: of(false),
            };
            ((*user).clone(), standing)
        });
        let standings = standings.collect();
        let disabled_users = directory.users.iter().filter(|(_, user)| user.disabled);
        let mut disabled: BTreeSet<_> = disabled_users.map(|(name, _)| name.clone()).collect();
        disabled.extend(directory.unverified_users.iter().cloned());
        let mut clients = directory.clients.clone();
        clients.retain(|client| !disabled.contains(&client.principal));
        Self {
            clients: ClientIndex::new(clients),
            standings,
            disabled,
            offers: bundle_offers(&directory.bundles),
            key_requests: std::mem::take(&mut directory.key_requests),
            approvals: by_credential(std::mem::take(&mut directory.approvals)),
            egress: EgressDirectory::new(
                std::mem::take(&mut directory.egress),
                directory.has_unverified_egress,
            ),
            all: directory,
        }
    }

    /// Whether everyone receives what is shared as whom they received it, and bundles offer the same.
    pub(super) fn reaches_the_same(&self, other: &Self) -> bool {
        self.standings == other.standings && self.offers == other.offers
    }

    /// As whom `principal` receives what is shared.
    pub(super) fn standing(&self, principal: &Principal) -> Standing {
        self.standings.get(principal).cloned().unwrap_or_else(|| {
            let alone: Arc<[Grantee]> =
                [Grantee::User(principal.clone()), Grantee::Everyone].into();
            Standing {
                present: Arc::clone(&alone),
                searched: alone,
            }
        })
    }

    /// A bundle.
    pub(super) fn bundle(&self, id: &BundleId) -> Option<&Bundle> {
        self.all.bundles.get(id)
    }

    /// What bundles offer to one of `grantees` under `slug`, or under any slug.
    pub(super) fn offered<'a>(
        &'a self,
        grantees: &'a [Grantee],
        slug: Option<&'a Slug>,
    ) -> impl Iterator<Item = &'a BundleOffer> {
        let slugs = grantees
            .iter()
            .filter_map(|grantee| self.offers.get(grantee));
        slugs
            .flatten()
            .filter_map(move |(alias, offers)| {
                slug.is_none_or(|slug| slug == alias).then_some(offers)
            })
            .flatten()
    }

    /// Whether a JWT of a client of an issuer was revoked, or it is not known.
    pub(super) fn is_issued_revoked(
        &self,
        client: &str,
        id: Option<&TokenId>,
        issued: Option<i64>,
    ) -> bool {
        let revoked = self.all.revoked_issued.get(client);
        revoked.is_some_and(|revoked| revoked.covers(id, issued))
            || self.all.unverified_issued.contains(client)
    }

    /// Whether a user may do nothing.
    pub(super) fn is_disabled(&self, principal: &Principal) -> bool {
        self.disabled.contains(principal)
    }
}
