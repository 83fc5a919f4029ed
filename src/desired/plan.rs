//! The steps from what is to what is wanted.

use std::collections::BTreeMap;

use super::state::{
    Desired, DesiredBundle, DesiredCredential, DesiredRule, DesiredShare, InvalidFile, Present,
};
use super::step::Step;
use crate::policy::egress::{EgressRule, Stance};
use crate::policy::use_limits::UseLimits;
use crate::substitution::slug::Slug;
use crate::vault::egress::Subject;
use crate::vault::name::Principal;
use crate::vault::people::{BundleId, Grantee};
use crate::vault::registrar::people::{NewUser, UserChange};
use crate::vault::sharing::Offer;

/// What would change.
#[derive(Debug, Default)]
pub struct Plan {
    /// The changes, in the order in which they are made.
    pub steps: Vec<Step>,
    /// What the file names and only a command can make: a credential needs its value, and a client
    /// shows its token.
    pub missing: Vec<String>,
    /// What is there and the file does not name. It stays as it is.
    pub unmanaged: Vec<String>,
    /// What of the file may be a mistake.
    pub remarks: Vec<String>,
}

/// The steps from `present` to `desired`.
///
/// # Errors
/// When the file names something by what is no name.
pub fn plan(desired: &Desired, present: &Present) -> Result<Plan, InvalidFile> {
    let mut plan = Plan::default();
    plan.users(desired, present);
    plan.groups(desired, present);
    for (name, wanted) in &desired.credentials {
        let (owner, slug) = credential_name(name)?;
        match present.credentials.get(name) {
            Some(is) => plan.credential(&owner, &slug, wanted, is),
            None => plan.missing.push(format!(
                "credential {name}: `egret credential add {slug} --owner {owner}` saves its value"
            )),
        }
    }
    for (name, wanted) in &desired.bundles {
        let id: BundleId = name.parse().map_err(|_| bad(name, "owner/name"))?;
        let is = present.bundles.get(name);
        if is.is_none() {
            plan.steps.push(Step::AddBundle(id.clone()));
        }
        plan.bundle(&id, wanted, is)?;
    }
    for (name, wanted) in &desired.clients {
        let Some(is) = present.clients.get(name) else {
            let how = format!("client {name}: `egret client add {name}` makes its token");
            plan.missing.push(how);
            continue;
        };
        if is != wanted {
            let bundle = wanted.bundle.as_deref();
            let parse = |text: &str| text.parse().map_err(|_| bad(text, "owner/name"));
            plan.steps
                .push(Step::Bind(name.clone(), bundle.map(parse).transpose()?));
        }
    }
    for (subject, wanted) in &desired.rules {
        plan.rules(subject, wanted, present.rules.get(subject))?;
    }
    plan.remarks = idle_rules(desired);
    plan.unmanaged = unmanaged(desired, present);
    Ok(plan)
}

fn bad(name: &str, form: &str) -> InvalidFile {
    InvalidFile::new(format!("`{name}` is not of the form {form}"))
}

fn credential_name(name: &str) -> Result<(Principal, Slug), InvalidFile> {
    name.split_once('/')
        .and_then(|(owner, slug)| Some((Principal::parse(owner).ok()?, Slug::parse(slug).ok()?)))
        .ok_or_else(|| bad(name, "owner/slug"))
}

impl Plan {
    fn users(&mut self, desired: &Desired, present: &Present) {
        for (name, wanted) in &desired.users {
            let is_disabled = match present.users.get(name) {
                None => {
                    self.steps.push(Step::AddUser(NewUser {
                        name: name.clone(),
                        display_name: wanted.display_name.clone(),
                        role: wanted.role,
                    }));
                    false
                }
                Some(is) => {
                    let change = UserChange {
                        display_name: (is.display_name != wanted.display_name)
                            .then(|| wanted.display_name.clone()),
                        role: (is.role != wanted.role).then_some(wanted.role),
                    };
                    if change.display_name.is_some() || change.role.is_some() {
                        self.steps.push(Step::ChangeUser(name.clone(), change));
                    }
                    is.disabled
                }
            };
            if is_disabled != wanted.disabled {
                self.steps
                    .push(Step::SetDisabled(name.clone(), wanted.disabled));
            }
        }
    }

    fn groups(&mut self, desired: &Desired, present: &Present) {
        for (name, wanted) in &desired.groups {
            let is = present.groups.get(name);
            if is.is_none() {
                self.steps.push(Step::AddGroup(name.clone()));
            }
            let members = is.map(|is| is.members.clone()).unwrap_or_default();
            let join = wanted.members.difference(&members);
            self.steps
                .extend(join.map(|user| Step::Join(name.clone(), user.clone())));
            let leave = members.difference(&wanted.members);
            self.steps
                .extend(leave.map(|user| Step::Leave(name.clone(), user.clone())));
        }
    }

    /// Rules have no order: those of which the file says nothing go, and those that are not there come.
    fn rules(
        &mut self,
        subject: &Subject,
        wanted: &[DesiredRule],
        present: Option<&Vec<DesiredRule>>,
    ) -> Result<(), InvalidFile> {
        let present = present.map(Vec::as_slice).unwrap_or_default();
        let says = |rules: &[DesiredRule], rule: &EgressRule| {
            rules.iter().any(|other| other.rule() == *rule)
        };
        for (at, wanted_rule) in wanted.iter().enumerate() {
            let rule = wanted_rule.rule();
            if rule.stance == Stance::Allow && rule.hosts.is_empty() {
                let reason = format!("a rule that allows {subject} something has to name hosts");
                return Err(InvalidFile::new(reason));
            }
            if !says(present, &rule) && !says(&wanted[..at], &rule) {
                self.steps.push(Step::AddRule(subject.clone(), rule));
            }
        }
        for known in present {
            let rule = known.rule();
            if let Some(number) = known.number.filter(|_| !says(wanted, &rule)) {
                let step = Step::RemoveRule(number, subject.clone(), rule);
                self.steps.push(step);
            }
        }
        Ok(())
    }

    /// Limits come before shares, which cannot be wider.
    fn credential(
        &mut self,
        owner: &Principal,
        slug: &Slug,
        wanted: &DesiredCredential,
        is: &DesiredCredential,
    ) {
        let present = is.grant(UseLimits::default());
        let grant = wanted.grant(present.uses);
        if present != grant {
            let step = Step::Allow(owner.clone(), slug.clone(), grant);
            self.steps.push(step);
        }
        if is.rotate_every != wanted.rotate_every {
            let step = Step::RotateEvery(owner.clone(), slug.clone(), wanted.rotate_every);
            self.steps.push(step);
        }
        let (offered, ended) = differences(&wanted.shares, &is.shares);
        let ended = ended.into_iter();
        self.steps
            .extend(ended.map(|with| Step::Unshare(owner.clone(), slug.clone(), with)));
        let offered = offered.into_iter();
        self.steps
            .extend(offered.map(|offer| Step::Share(owner.clone(), slug.clone(), offer)));
    }

    fn bundle(
        &mut self,
        id: &BundleId,
        wanted: &DesiredBundle,
        is: Option<&DesiredBundle>,
    ) -> Result<(), InvalidFile> {
        let nothing = BTreeMap::new();
        let entries = is.map_or(&nothing, |is| &is.entries);
        let slug = |text: &str| Slug::parse(text).map_err(|_| bad(text, "a slug"));
        for (alias, name) in &wanted.entries {
            if entries.get(alias) != Some(name) {
                let step = Step::PutEntry(id.clone(), slug(alias)?, slug(name)?);
                self.steps.push(step);
            }
        }
        for alias in entries.keys().filter(|a| !wanted.entries.contains_key(*a)) {
            self.steps.push(Step::TakeEntry(id.clone(), slug(alias)?));
        }
        let shares = is.map(|is| is.shares.as_slice()).unwrap_or_default();
        let (offered, ended) = differences(&wanted.shares, shares);
        let ended = ended.into_iter();
        self.steps
            .extend(ended.map(|with| Step::UnshareBundle(id.clone(), with)));
        let offered = offered.into_iter();
        self.steps
            .extend(offered.map(|offer| Step::ShareBundle(id.clone(), offer)));
        Ok(())
    }
}

/// What is offered for the first time or differently, and what is taken back.
fn differences(wanted: &[DesiredShare], present: &[DesiredShare]) -> (Vec<Offer>, Vec<Grantee>) {
    let offered = wanted.iter().filter(|share| !present.contains(share));
    let is_wanted = |share: &&DesiredShare| wanted.iter().any(|one| one.with == share.with);
    let ended = present.iter().filter(|share| !is_wanted(share));
    (
        offered.map(DesiredShare::offer).collect(),
        ended.map(|share| share.with.clone()).collect(),
    )
}

/// Rules that never decide anything, because another one of the file does.
fn idle_rules(desired: &Desired) -> Vec<String> {
    let everyone = Subject::Of(Grantee::Everyone);
    let all = desired.rules.iter().flat_map(|(subject, rules)| {
        let numbered = rules.iter().zip(1..);
        numbered.map(move |(rule, at)| (subject, at, rule.rule()))
    });
    let all: Vec<(&Subject, usize, EgressRule)> = all.collect();
    let mut remarks = Vec::new();
    for (at, (subject, number, rule)) in all.iter().enumerate() {
        let covers = |(other_at, (other, _, by)): &(usize, &(&Subject, usize, EgressRule))| {
            let is_about = *other == *subject || **other == everyone;
            // Of two that say the same, the first one counts.
            let goes_first = *other_at < at || !rule.overrules(by);
            *other_at != at && is_about && by.overrules(rule) && goes_first
        };
        if let Some((_, (other, by_number, by))) = all.iter().enumerate().find(covers) {
            remarks.push(format!(
                "rule {number} of {subject} ({}) never decides: rule {by_number} of {other} ({}) covers it",
                rule.stance.as_str(),
                by.stance.as_str()
            ));
        }
    }
    remarks
}

fn unmanaged(desired: &Desired, present: &Present) -> Vec<String> {
    fn names<K: Ord + ToString, A, B>(
        kind: &str,
        present: &BTreeMap<K, A>,
        desired: &BTreeMap<K, B>,
    ) -> Vec<String> {
        let others = present.keys().filter(|name| !desired.contains_key(*name));
        others
            .map(|name| format!("{kind} {}", name.to_string()))
            .collect()
    }
    [
        names("user", &present.users, &desired.users),
        names("group", &present.groups, &desired.groups),
        names("credential", &present.credentials, &desired.credentials),
        names("bundle", &present.bundles, &desired.bundles),
        names("client", &present.clients, &desired.clients),
        names("rules about", &present.rules, &desired.rules),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Desired {
        Desired::read(text).unwrap()
    }

    fn steps(desired: &str, present: &str) -> Vec<String> {
        let plan = plan(&read(desired), &read(present)).unwrap();
        plan.steps.iter().map(ToString::to_string).collect()
    }

    const FILE: &str = r#"
        [users.alice]
        [users.bob]
        role = "auditor"
        [groups.ops]
        members = ["alice"]
        [credentials."alice/key"]
        hosts = ["api.example.com"]
        methods = ["GET"]
        shares = [{ with = "bob" }, { with = "group:ops", until = "2030-01-01T00:00:00Z" }]
        [bundles."alice/work"]
        entries = { gh = "key" }
        [clients.ci]
        bundle = "alice/work"
    "#;

    #[test]
    fn what_is_as_wanted_needs_no_step() {
        assert!(steps(FILE, FILE).is_empty());
        let json = serde_json::to_string(&read(FILE)).unwrap();
        assert_eq!(read(&json), read(FILE));
        assert_eq!(read(&toml::to_string(&read(FILE)).unwrap()), read(FILE));
    }

    #[test]
    fn each_difference_is_a_step_and_the_rest_is_left_alone() {
        let present = r#"
            [users.alice]
            role = "administrator"
            [users.carol]
            [groups.ops]
            members = ["carol"]
            [credentials."alice/key"]
            hosts = ["api.example.com"]
            shares = [{ with = "carol" }, { with = "bob", methods = ["GET"] }]
            [bundles."alice/work"]
            entries = { old = "key" }
            [clients.ci]
        "#;
        assert_eq!(
            steps(FILE, present),
            [
                "~ user alice, member",
                "+ user bob, auditor",
                "+ alice in group ops",
                "- carol in group ops",
                "~ limits of alice/key: {\"hosts\":[\"api.example.com\"],\"locations\":[\"header\"],\
                 \"methods\":[\"GET\"],\"paths\":[],\"actions\":[],\"expires\":null}",
                "- share of alice/key with carol",
                "+ share of alice/key with bob",
                "+ share of alice/key with group:ops; until 2030-01-01T00:00:00Z",
                "+ key as gh in bundle alice/work",
                "- old in bundle alice/work",
                "~ client ci may use bundle alice/work only",
            ]
        );
        let plan = plan(&read(FILE), &read(present)).unwrap();
        assert_eq!(plan.unmanaged, ["user carol"]);
        assert!(plan.missing.is_empty());
    }

    #[test]
    fn a_rule_that_another_one_covers_is_named() {
        let file = read(
            r#"
            [[rules."client:ci"]]
            rule = "allow"
            hosts = ["api.example.com"]
            [[rules."client:ci"]]
            rule = "deny"
            hosts = ["api.example.com"]
            [[rules."client:ci"]]
            rule = "allow"
            hosts = ["closed.example"]
            [[rules.everyone]]
            rule = "deny"
            hosts = ["closed.example"]
            [[rules.everyone]]
            rule = "allow"
            hosts = ["api.example.com", "other.example"]
        "#,
        );
        let plan = plan(&file, &Present::default()).unwrap();
        assert_eq!(
            plan.remarks,
            [
                "rule 1 of client:ci (allow) never decides: rule 2 of client:ci (deny) covers it",
                "rule 3 of client:ci (allow) never decides: rule 1 of everyone (deny) covers it",
            ]
        );
    }

    #[test]
    fn the_rules_about_somebody_are_all_in_the_file() {
        let wanted = r#"
            [[rules."client:ci"]]
            rule = "allow"
            hosts = ["api.example.com"]
            [[rules."client:ci"]]
            rule = "deny"
        "#;
        let mut present = read(
            r#"
            [[rules."client:ci"]]
            rule = "deny"
            [[rules."client:ci"]]
            rule = "observe"
            hosts = ["old.example.com"]
            [[rules.everyone]]
            rule = "deny"
            hosts = ["paste.example.com"]
        "#,
        );
        for (number, rule) in (7..).zip(present.rules.values_mut().flatten()) {
            rule.number = Some(number);
        }
        let found = plan(&read(wanted), &present).unwrap();
        let steps: Vec<_> = found.steps.iter().map(ToString::to_string).collect();
        assert_eq!(
            steps,
            [
                "+ rule: allow client:ci; hosts api.example.com",
                "- rule 8: observe client:ci; hosts old.example.com",
            ]
        );
        assert_eq!(found.unmanaged, ["rules about everyone"]);
        let json = serde_json::to_string(&read(wanted)).unwrap();
        assert_eq!(read(&json), read(wanted));
        assert_eq!(read(&toml::to_string(&read(wanted)).unwrap()), read(wanted));
        let everywhere = read("[[rules.everyone]]\nrule = 'allow'");
        assert!(plan(&everywhere, &Present::default()).is_err());
    }

    #[test]
    fn what_only_a_command_can_make_is_said() {
        let plan = plan(&read(FILE), &Present::default()).unwrap();
        assert_eq!(plan.missing.len(), 2, "{:?}", plan.missing);
        assert!(plan.missing[0].contains("egret credential add key --owner alice"));
    }

    #[test]
    fn what_a_file_may_not_say_is_refused_with_its_place() {
        for (text, part) in [
            ("[users.alice]\nrol = 'member'", "rol"),
            ("[credentials.'alice/key']\nhosts = ['a b']", "line 2"),
            (
                "[credentials.'alice/key']\nhosts = ['a.test']\nvalue = 'x'",
                "value",
            ),
            (
                "[credentials.'alice/key']\nhosts = ['a.test']\nshares = [{ with = 'bob', weekday = 1 }]",
                "weekday",
            ),
        ] {
            let error = Desired::read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let odd = read("[credentials.key]\nhosts = ['a.test']");
        assert!(plan(&odd, &Present::default()).is_err());
    }
}
