//! The steps from what is to what is wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use super::state::{
    Desired, DesiredBundle, DesiredCredential, DesiredRule, DesiredShare, InvalidFile, Present,
};
use super::step::Step;
use crate::policy::egress::{EgressRule, Stance};
use crate::policy::grant::HostPattern;
use crate::policy::use_limits::UseLimits;
use crate::substitution::slug::Slug;
use crate::vault::egress::{Decides, RuleFor, Subject};
use crate::vault::name::Principal;
use crate::vault::people::{BundleId, Grantee};
use crate::vault::registrar::people::{NewUser, UserChange};
use crate::vault::sharing::Offer;

/// Most remarks about the rules of a file.
const MOST_REMARKS: usize = 100;

/// Most pairs of rules that are compared.
const MOST_COMPARISONS: usize = 2_000_000;

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
        // By their text: there may be thousands on both sides.
        let text = |rule: &EgressRule| serde_json::to_string(rule).unwrap_or_default();
        let known: HashSet<String> = present.iter().map(|rule| text(&rule.rule())).collect();
        let mut said = HashSet::new();
        for wanted_rule in wanted {
            let rule = wanted_rule.rule();
            if rule.stance == Stance::Allow && rule.hosts.is_empty() {
                let reason = format!("a rule that allows {subject} something has to name hosts");
                return Err(InvalidFile::at(wanted_rule.line, &reason));
            }
            let text = text(&rule);
            let is_known = known.contains(&text);
            if said.insert(text) && !is_known {
                self.steps.push(Step::AddRule(subject.clone(), rule));
            }
        }
        for known in present {
            let rule = known.rule();
            if let Some(number) = known.number.filter(|_| !said.contains(&text(&rule))) {
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

/// A rule of the file, and where it is.
struct Placed<'a> {
    subject: &'a Subject,
    /// Among those about the same, counted from 1.
    number: usize,
    line: Option<usize>,
    rule: EgressRule,
}

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, subject) = (self.number, self.subject);
        let stance = self.rule.stance.as_str();
        write!(f, "rule {number} of {subject} ({stance}")?;
        self.line
            .map_or(Ok(()), |line| write!(f, ", line {line}"))?;
        f.write_str(")")
    }
}

impl Placed<'_> {
    fn as_rule(&self) -> RuleFor<'_> {
        RuleFor {
            subject: self.subject,
            rule: &self.rule,
        }
    }
}

/// Rules that never decide anything, or nothing at some of their hosts, because another one of the
/// file does. Only rules that name the same host can be such.
fn idle_rules(desired: &Desired) -> Vec<String> {
    let all = desired.rules.iter().flat_map(|(subject, rules)| {
        let numbered = rules.iter().zip(1..);
        numbered.map(move |(rule, number)| Placed {
            subject,
            number,
            line: rule.line,
            rule: rule.rule(),
        })
    });
    let all: Vec<Placed<'_>> = all.collect();
    let mut about: HashMap<Option<&HostPattern>, Vec<usize>> = HashMap::new();
    for (at, placed) in all.iter().enumerate() {
        for host in hosts_of(&placed.rule) {
            about.entry(host).or_default().push(at);
        }
    }
    let mut remarks = Vec::new();
    let mut comparisons = 0;
    for (at, placed) in all.iter().enumerate() {
        let others = |host| about.get(&host).into_iter().flatten().copied();
        let others: BTreeSet<usize> = hosts_of(&placed.rule).flat_map(others).collect();
        comparisons += others.len();
        if comparisons > MOST_COMPARISONS {
            remarks
                .push("the rules name the same hosts too often to compare all of them".to_owned());
            break;
        }
        let others = others.into_iter().filter(|other| *other != at);
        // Of two that say the same, the first one counts.
        let goes_first =
            |other: &usize| *other < at || all[*other].as_rule().decides_more(placed.as_rule());
        remarks.extend(remark(
            placed,
            others.filter(goes_first).map(|other| &all[other]),
        ));
        if remarks.len() > MOST_REMARKS {
            remarks.truncate(MOST_REMARKS);
            remarks.push("there are more such rules".to_owned());
            break;
        }
    }
    remarks
}

/// The hosts of a rule; `None` is every host.
fn hosts_of(rule: &EgressRule) -> impl Iterator<Item = Option<&HostPattern>> {
    let every = rule.hosts.is_empty().then_some(None);
    every.into_iter().chain(rule.hosts.iter().map(Some))
}

/// What others leave of a rule: nothing, or less than it says. Of several the strictest one is named.
fn remark<'a>(placed: &Placed<'_>, others: impl Iterator<Item = &'a Placed<'a>>) -> Vec<String> {
    let mut whole: Option<&Placed<'_>> = None;
    let mut partly: BTreeMap<&HostPattern, &Placed<'_>> = BTreeMap::new();
    let is_stricter = |by: &Placed<'_>, than: &Placed<'_>| by.rule.stance > than.rule.stance;
    for by in others {
        match by.as_rule().decides(placed.as_rule()) {
            Some(Decides::All) if whole.is_none_or(|known| is_stricter(by, known)) => {
                whole = Some(by);
            }
            Some(Decides::At(hosts)) => {
                for host in hosts {
                    let known = partly.entry(host).or_insert(by);
                    if is_stricter(by, known) {
                        *known = by;
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(by) = whole {
        return vec![format!("{placed} never decides: {by} covers it")];
    }
    let partly = partly.into_iter();
    partly
        .map(|(host, by)| format!("{placed} never decides at {host}: {by} does"))
        .collect()
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
            [[rules."client:ci"]]
            rule = "allow"
            hosts = ["closed.example", "fourth.example"]
            [[rules.everyone]]
            rule = "allow"
            hosts = ["api.example.com", "other.example"]
        "#,
        );
        let found = plan(&file, &Present::default()).unwrap();
        assert_eq!(
            found.remarks,
            [
                "rule 1 of client:ci (allow, line 2) never decides: rule 2 of client:ci (deny, line 5) covers it",
                "rule 3 of client:ci (allow, line 8) never decides: rule 1 of everyone (deny, line 11) covers it",
                "rule 4 of client:ci (allow, line 14) never decides at closed.example: rule 1 of everyone (deny, line 11) does",
            ]
        );
        // The same file as JSON, on one line for each rule.
        let value: serde_json::Value = serde_json::to_value(&file).unwrap();
        let json = format!("{{\n\"users\": {{}}, \"rules\":\n{:#}}}", value["rules"]);
        let json = plan(&read(&json), &Present::default()).unwrap();
        assert_eq!(json.remarks.len(), 3);
        assert!(
            json.remarks[0].contains("rule 1 of client:ci (allow, line 5)"),
            "{json:?}"
        );
        assert!(
            json.remarks[1].contains("rule 1 of everyone (deny, line 32)"),
            "{json:?}"
        );
        // Of two that say the same, the second one is named.
        let twice = "[rules]\n'client:ci' = [\n{ rule = 'deny' },\n{ rule = 'deny' }]";
        let twice = plan(&read(twice), &Present::default()).unwrap();
        assert_eq!(
            twice.remarks,
            [
                "rule 2 of client:ci (deny, line 4) never decides: rule 1 of client:ci (deny, line 3) covers it"
            ]
        );
    }

    #[test]
    fn a_long_list_of_rules_is_looked_through_at_once() {
        let mut file = String::new();
        for number in 0..10_000 {
            file += &format!("[[rules.everyone]]\nrule = 'allow'\nhosts = ['h{number}.example']\n");
        }
        assert!(
            plan(&read(&file), &Present::default())
                .unwrap()
                .remarks
                .is_empty()
        );
        let same = file.replace("h1", "h0").replace("'h", "'h0.example', 'h");
        let remarks = plan(&read(&same), &Present::default()).unwrap().remarks;
        assert_eq!(remarks.len(), MOST_REMARKS + 1);
        assert_eq!(remarks[MOST_REMARKS], "there are more such rules");
        let mut apart = String::new();
        for number in 0..10_000 {
            apart += &format!(
                "[[rules.everyone]]\nrule = 'allow'\nhosts = ['a.example']\npaths = ['/{number}']\n"
            );
        }
        let remarks = plan(&read(&apart), &Present::default()).unwrap().remarks;
        assert_eq!(
            remarks,
            ["the rules name the same hosts too often to compare all of them"]
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
        // What it says, and not in which lines.
        let says = |text: &str| {
            let mut says = read(text);
            for rule in says.rules.values_mut().flatten() {
                rule.line = None;
            }
            says
        };
        let json = serde_json::to_string(&read(wanted)).unwrap();
        assert_eq!(says(&json), says(wanted));
        let toml = toml::to_string(&read(wanted)).unwrap();
        assert_eq!(says(&toml), says(wanted));
        let everywhere = read("[users.bob]\n[[rules.everyone]]\nrule = 'allow'");
        let error = plan(&everywhere, &Present::default()).unwrap_err();
        assert_eq!(error.line, Some(2));
        assert!(error.to_string().starts_with("line 2: "), "{error}");
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
