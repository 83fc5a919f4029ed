//! Who may do what to what belongs to whom.

use std::fmt;

use crate::vault::name::{Actor, Principal};
use crate::vault::people::{Role, User};

/// What a change does to somebody's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Rotates, shares, limits, hands over, restores. The owner's alone: an administrator who could
    /// point a credential at another host could read it.
    Own,
    /// Revokes, deletes, ends a share. Takes away, and gives nothing.
    TakeAway,
}

/// Who asks for a change.
#[derive(Clone, Copy, Debug)]
pub enum Requester<'a> {
    /// Someone who can run commands on the host.
    Operator,
    /// A client: a program that may ask for things, and changes nothing of anybody's.
    Client,
    /// A user, as the store has it; `None` if the store knows no such user.
    User(&'a Principal, Option<&'a User>),
}

/// Why a change was refused to someone who may know of what it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// The user is disabled or unknown.
    Disabled,
    /// Auditors change nothing.
    Auditor,
    /// Whoever asks does not answer.
    Client,
    /// Only the owner may.
    NotOwner,
    /// Only an administrator may.
    NotAdministrator,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Forbidden::Disabled => "this user is disabled",
            Forbidden::Auditor => "an auditor sees everything and changes nothing",
            Forbidden::Client => "a client may ask for this and not do it",
            Forbidden::NotOwner => {
                "only the owner may do this; an administrator may revoke and delete"
            }
            Forbidden::NotAdministrator => "only an administrator may do this",
        })
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Allowed,
    /// The requester may know that it exists, and may not do this.
    Forbidden(Forbidden),
    /// For the requester it does not exist.
    Unknown,
}

impl<'a> Requester<'a> {
    /// Who an actor is. `user` is the user for whom it acts, as the store has it.
    pub fn of(actor: &'a Actor, user: Option<&'a User>) -> Self {
        match actor.acts_for() {
            Some(name) => Self::User(name, user),
            None if actor.is_client() => Self::Client,
            None => Self::Operator,
        }
    }

    fn active(&self) -> Result<Option<Role>, Forbidden> {
        match self {
            Requester::Operator => Ok(None),
            Requester::Client => Err(Forbidden::Client),
            Requester::User(_, Some(user)) if !user.disabled => Ok(Some(user.role)),
            Requester::User(..) => Err(Forbidden::Disabled),
        }
    }

    /// Whether it may do `right` to what `owner` owns. `uses` says whether it is shared with the
    /// requester, who then knows of it.
    pub fn may(&self, right: Right, owner: &Principal, uses: bool) -> Verdict {
        let role = match self.active() {
            Ok(None) => return Verdict::Allowed,
            Ok(Some(role)) => role,
            Err(forbidden) => return Verdict::Forbidden(forbidden),
        };
        let owns = matches!(self, Requester::User(name, _) if *name == owner);
        match role {
            Role::Auditor => Verdict::Forbidden(Forbidden::Auditor),
            _ if owns => Verdict::Allowed,
            Role::Administrator if right == Right::TakeAway => Verdict::Allowed,
            Role::Administrator => Verdict::Forbidden(Forbidden::NotOwner),
            Role::Member if uses => Verdict::Forbidden(Forbidden::NotOwner),
            Role::Member => Verdict::Unknown,
        }
    }

    /// Whether it may know of what `owner` owns. `uses` says whether it is shared with the requester.
    pub fn may_see(&self, owner: &Principal, uses: bool) -> bool {
        let Ok(role) = self.active() else {
            return false;
        };
        let owns = matches!(self, Requester::User(name, _) if *name == owner);
        owns || uses || !matches!(role, Some(Role::Member))
    }

    /// Whether it may change users and groups.
    pub fn may_administer(&self) -> Result<(), Forbidden> {
        match self.active()? {
            None | Some(Role::Administrator) => Ok(()),
            Some(Role::Auditor) => Err(Forbidden::Auditor),
            Some(Role::Member) => Err(Forbidden::NotAdministrator),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_changes_nothing_and_sees_nothing() {
        let alice = Principal::parse("alice").unwrap();
        let actor = Actor::client("ci");
        let client = Requester::of(&actor, None);
        for right in [Right::Own, Right::TakeAway] {
            let refused = Verdict::Forbidden(Forbidden::Client);
            assert_eq!(client.may(right, &alice, true), refused);
        }
        assert!(!client.may_see(&alice, true));
        assert_eq!(client.may_administer(), Err(Forbidden::Client));
        let server = Actor::server("start");
        assert_eq!(Requester::of(&server, None).may_administer(), Ok(()));
    }

    #[test]
    fn an_administrator_takes_away_and_an_owner_decides() {
        use Verdict::{Allowed, Unknown};
        let [alice, bob] = ["alice", "bob"].map(|name| Principal::parse(name).unwrap());
        let user = |role, disabled| User {
            role,
            disabled,
            ..User::member(0)
        };
        let forbidden = Verdict::Forbidden;
        let cases = [
            (Role::Member, false, &alice, Right::Own, false, Allowed),
            (Role::Member, false, &bob, Right::Own, false, Unknown),
            (
                Role::Member,
                false,
                &bob,
                Right::Own,
                true,
                forbidden(Forbidden::NotOwner),
            ),
            (Role::Member, false, &bob, Right::TakeAway, false, Unknown),
            (
                Role::Administrator,
                false,
                &alice,
                Right::Own,
                false,
                Allowed,
            ),
            (
                Role::Administrator,
                false,
                &bob,
                Right::Own,
                true,
                forbidden(Forbidden::NotOwner),
            ),
            (
                Role::Administrator,
                false,
                &bob,
                Right::TakeAway,
                false,
                Allowed,
            ),
            (
                Role::Auditor,
                false,
                &alice,
                Right::Own,
                false,
                forbidden(Forbidden::Auditor),
            ),
            (
                Role::Auditor,
                false,
                &bob,
                Right::TakeAway,
                true,
                forbidden(Forbidden::Auditor),
            ),
            (
                Role::Administrator,
                true,
                &bob,
                Right::TakeAway,
                false,
                forbidden(Forbidden::Disabled),
            ),
            (
                Role::Member,
                true,
                &alice,
                Right::Own,
                false,
                forbidden(Forbidden::Disabled),
            ),
        ];
        for (role, disabled, owner, right, uses, expected) in cases {
            let known = user(role, disabled);
            let requester = Requester::User(&alice, Some(&known));
            let verdict = requester.may(right, owner, uses);
            assert_eq!(
                verdict, expected,
                "{role} {disabled} {owner} {right:?} {uses}"
            );
        }
        assert_eq!(Requester::Operator.may(Right::Own, &bob, false), Allowed);
        let stranger = Requester::User(&alice, None).may(Right::Own, &alice, false);
        assert_eq!(stranger, forbidden(Forbidden::Disabled));
    }
}
