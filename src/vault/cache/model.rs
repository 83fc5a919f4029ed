//! Every history of changes against a model of who may use what, and why: users, groups, shares and
//! their limits.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Found, Vault};
use crate::policy::decide::{Attempt, decide, decide_share};
use crate::policy::destination::{Destination, Scheme};
use crate::policy::location::Location;
use crate::policy::share_limits::ShareLimits;
use crate::vault::fixture::with as sharing;
use crate::vault::fixture::*;
use crate::vault::name::GroupName;
use crate::vault::people::{BundleId, Grantee};
use crate::vault::rotation::Retention;
use crate::vault::sharing::Offer;
use crate::vault::{Principal, Registrar};

const PEOPLE: [&str; 3] = ["ann", "ben", "cid"];
const GRANTEES: [&str; 5] = ["ann", "ben", "cid", "group:ops", "everyone"];
const SLUGS: [&str; 2] = ["s0", "s1"];
const METHODS: [&str; 2] = ["GET", "POST"];
/// Far beyond the clock of any run; what expires is asked for after it.
const LATER: i64 = 9_000_000_000;

// The model.

#[derive(Clone, Debug, Default)]
struct Model {
    credentials: BTreeMap<(usize, usize), Secret>,
    /// Members of `ops`.
    ops: BTreeSet<usize>,
    disabled: BTreeSet<usize>,
    /// With whom ann's bundle is shared, in which `s0` means her `s1`.
    bundle: BTreeSet<usize>,
}

#[derive(Clone, Debug, Default)]
struct Secret {
    value: String,
    revoked: bool,
    only_get: bool,
    shares: BTreeMap<usize, Terms>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Terms {
    only_get: bool,
    expires: bool,
}

/// What becomes of a request.
#[derive(Debug, PartialEq)]
enum Answer {
    Value(String),
    Denied,
    None,
    Ambiguous,
}

impl Model {
    fn answer(&self, who: usize, slug: usize, method: &str, late: bool) -> Answer {
        let permits = |only_get: bool| !only_get || method == "GET";
        if let Some(own) = self.credentials.get(&(who, slug)) {
            if own.revoked {
                return Answer::None;
            }
            if permits(own.only_get) {
                return Answer::Value(own.value.clone());
            }
            return Answer::Denied;
        }
        let receives = |with: usize| match GRANTEES[with] {
            "everyone" => true,
            "group:ops" => self.ops.contains(&who),
            name => name == PEOPLE[who],
        };
        let mut offered = Vec::new();
        for ((owner, of), secret) in &self.credentials {
            let shares = secret.shares.iter().filter(|(with, terms)| {
                *of == slug && receives(**with) && !(terms.expires && late)
            });
            let mut terms: Vec<Terms> = shares.map(|(_, terms)| *terms).collect();
            let in_bundle = (*owner, *of, slug) == (0, 1, 0) && who != 0;
            if in_bundle && self.bundle.iter().any(|with| receives(*with)) {
                terms.push(Terms::default());
            }
            if !terms.is_empty() && !secret.revoked && !self.disabled.contains(owner) {
                offered.push((secret, terms));
            }
        }
        match &offered[..] {
            [] => Answer::None,
            [(secret, terms)] => {
                let shared = terms.iter().any(|terms| permits(terms.only_get));
                if shared && permits(secret.only_get) {
                    Answer::Value(secret.value.clone())
                } else {
                    Answer::Denied
                }
            }
            _ => Answer::Ambiguous,
        }
    }
}

// The steps, on the model and on the store.

#[derive(Clone, Debug)]
enum Step {
    Add(usize, usize),
    Rotate(usize, usize),
    Revoke(usize, usize),
    Restore(usize, usize),
    Delete(usize, usize),
    Narrow(usize, usize, bool),
    Share(usize, usize, usize, Terms),
    Unshare(usize, usize, usize),
    Join(usize),
    Leave(usize),
    Disable(usize, bool),
    ShareBundle(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let terms =
        (any::<bool>(), any::<bool>()).prop_map(|(only_get, expires)| Terms { only_get, expires });
    prop_oneof![
        4 => (0..3usize, 0..2usize).prop_map(|(who, slug)| Step::Add(who, slug)),
        1 => (0..3usize, 0..2usize).prop_map(|(who, slug)| Step::Rotate(who, slug)),
        1 => (0..3usize, 0..2usize).prop_map(|(who, slug)| Step::Revoke(who, slug)),
        1 => (0..3usize, 0..2usize).prop_map(|(who, slug)| Step::Restore(who, slug)),
        1 => (0..3usize, 0..2usize).prop_map(|(who, slug)| Step::Delete(who, slug)),
        1 => (0..3usize, 0..2usize, any::<bool>())
            .prop_map(|(who, slug, only_get)| Step::Narrow(who, slug, only_get)),
        6 => (0..3usize, 0..2usize, 0..5usize, terms)
            .prop_map(|(who, slug, with, terms)| Step::Share(who, slug, with, terms)),
        1 => (0..3usize, 0..2usize, 0..5usize)
            .prop_map(|(who, slug, with)| Step::Unshare(who, slug, with)),
        2 => (0..3usize).prop_map(Step::Join),
        1 => (0..3usize).prop_map(Step::Leave),
        1 => (0..3usize, any::<bool>()).prop_map(|(who, disabled)| Step::Disable(who, disabled)),
        2 => (1..5usize, any::<bool>()).prop_map(|(with, shared)| Step::ShareBundle(with, shared)),
    ]
}

fn only(get: bool) -> Vec<String> {
    get.then(|| "GET".to_owned()).into_iter().collect()
}

/// Carries a step out on both, and checks that both accept or refuse it.
async fn perform(command: &Registrar, model: &mut Model, step: Step, value: String) {
    let owner = |who: usize| principal(PEOPLE[who]);
    let name = |at: usize| slug(SLUGS[at]);
    let (actor, ops) = (actor(), GroupName::parse("ops").unwrap());
    match step {
        Step::Add(who, at) => {
            let new = new_credential(PEOPLE[who], SLUGS[at]);
            let added = command.add(&actor, new, secret(&value)).await.is_ok();
            assert_eq!(added, !model.credentials.contains_key(&(who, at)));
            let entry = model.credentials.entry((who, at));
            entry.or_insert_with(|| Secret {
                value,
                ..Secret::default()
            });
        }
        Step::Rotate(who, at) => {
            let (owner, slug, value_of) = (owner(who), name(at), secret(&value));
            let rotated = command
                .rotate(&actor, &owner, &slug, value_of, Retention::default())
                .await;
            on(model, who, at, rotated.is_ok(), |known| known.value = value);
        }
        Step::Revoke(who, at) => {
            let done = command.revoke(&actor, &owner(who), &name(at)).await;
            on(model, who, at, done.is_ok(), |known| known.revoked = true);
        }
        Step::Restore(who, at) => {
            let done = command.restore(&actor, &owner(who), &name(at)).await;
            on(model, who, at, done.is_ok(), |known| known.revoked = false);
        }
        Step::Delete(who, at) => {
            let done = command.delete(&actor, &owner(who), &name(at)).await;
            let known = model.credentials.remove(&(who, at));
            assert_eq!(done.is_ok(), known.is_some());
        }
        Step::Narrow(who, at, only_get) => {
            let mut narrowed = grant();
            narrowed.methods = only(only_get);
            let done = command
                .allow(&actor, &owner(who), &name(at), narrowed)
                .await;
            on(model, who, at, done.is_ok(), |known| {
                known.only_get = only_get
            });
        }
        Step::Share(who, at, with, terms) => {
            if GRANTEES[with] == PEOPLE[who] {
                return;
            }
            let offer = Offer {
                with: GRANTEES[with].parse().unwrap(),
                limits: ShareLimits {
                    methods: only(terms.only_get),
                    ..ShareLimits::default()
                },
                until: terms.expires.then_some(LATER),
            };
            let done = command.share(&actor, &owner(who), &name(at), &offer).await;
            on(model, who, at, done.is_ok(), |known| {
                known.shares.insert(with, terms);
            });
        }
        Step::Unshare(who, at, with) => {
            let with_whom: Grantee = GRANTEES[with].parse().unwrap();
            let done = command
                .unshare(&actor, &owner(who), &name(at), &with_whom)
                .await;
            on(model, who, at, done.is_ok(), |known| {
                known.shares.remove(&with);
            });
        }
        Step::Join(who) => {
            let changed = command.join_group(&actor, &ops, &owner(who)).await;
            assert_eq!(changed.unwrap(), model.ops.insert(who));
        }
        Step::Leave(who) => {
            let changed = command.leave_group(&actor, &ops, &owner(who)).await;
            assert_eq!(changed.unwrap(), model.ops.remove(&who));
        }
        Step::ShareBundle(with, shared) => {
            let (id, offer) = (bundle(), sharing(GRANTEES[with]));
            let changed = if shared {
                command.share_bundle(&actor, &id, &offer).await
            } else {
                command.unshare_bundle(&actor, &id, &offer.with).await
            };
            let differs = if shared {
                model.bundle.insert(with)
            } else {
                model.bundle.remove(&with)
            };
            assert_eq!(changed.unwrap(), differs);
        }
        Step::Disable(who, disabled) => {
            let changed = command.set_disabled(&actor, &owner(who), disabled).await;
            let differs = if disabled {
                model.disabled.insert(who)
            } else {
                model.disabled.remove(&who)
            };
            assert_eq!(changed.unwrap(), differs);
        }
    }
}

fn bundle() -> BundleId {
    "ann/b".parse().unwrap()
}

/// Ann's bundle. A credential has to exist to be put into it, and may be gone later.
async fn add_bundle(command: &Registrar) {
    let (ann, s0, s1) = (principal("ann"), slug("s0"), slug("s1"));
    command.add_secret("ann", "s1", "for a moment").await;
    command.add_bundle(&actor(), &bundle()).await.unwrap();
    let put = command.put_into_bundle(&actor(), &bundle(), &s0, &s1).await;
    assert!(put.unwrap());
    command.delete(&actor(), &ann, &s1).await.unwrap();
}

fn on(model: &mut Model, who: usize, at: usize, done: bool, change: impl FnOnce(&mut Secret)) {
    let known = model.credentials.get_mut(&(who, at));
    assert_eq!(done, known.is_some());
    if let Some(known) = known {
        change(known);
    }
}

/// What the vault does with a request.
fn answer(vault: &Vault, who: &Principal, slug_name: &str, method: &str, now: i64) -> Answer {
    let usable = match vault.find(who, &slug(slug_name), now) {
        Found::One(usable) => usable,
        Found::None => return Answer::None,
        Found::Ambiguous => return Answer::Ambiguous,
        Found::Unverified => panic!("everything is Egret's own"),
    };
    let attempt = Attempt {
        destination: &Destination::from_authority(Scheme::Https, "api.example.com").unwrap(),
        method,
        path: "/",
        action: "a",
        location: &Location::Header("authorization".into()),
    };
    let mut shares = usable.shares.iter();
    let shared = usable.shares.is_empty()
        || shares.any(|share| decide_share(&share.limits, &attempt).is_ok());
    if decide(&usable.credential.grant, &attempt).is_err() || !shared {
        return Answer::Denied;
    }
    let value = vault.open_value(&usable.credential, None).unwrap();
    Answer::Value(String::from_utf8(value.expose().to_vec()).unwrap())
}

fn check(vault: &Vault, model: &Model) {
    for (who, person) in PEOPLE.iter().enumerate() {
        for (at, name) in SLUGS.iter().enumerate() {
            for method in METHODS {
                for (late, now) in [(false, LATER - 1), (true, LATER)] {
                    let seen = answer(vault, &principal(person), name, method, now);
                    let expected = model.answer(who, at, method, late);
                    assert_eq!(seen, expected, "{person} {name} {method} {late}: {model:?}");
                }
            }
        }
        let disabled = vault.is_disabled(&principal(person));
        assert_eq!(disabled, model.disabled.contains(&who));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn every_history_of_changes_is_seen_as_it_was_made(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new();
            let command = fixture.registrar().await;
            command.add_users(&PEOPLE).await;
            let ops = GroupName::parse("ops").unwrap();
            command.add_group(&actor(), &ops, "").await.unwrap();
            add_bundle(&command).await;
            let vault = fixture.vault().await;
            let mut model = Model::default();
            for (number, step) in steps.into_iter().enumerate() {
                perform(&command, &mut model, step, format!("value {number}")).await;
                vault.refresh().await.unwrap();
                check(&vault, &model);
            }
            // A server that starts now must see the same as the one that watched.
            check(&fixture.vault().await, &model);
        });
    }
}
