//! What a line of the ledger says, in a sentence.

use super::text;
use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;

/// What somebody did, by the event: the words between who did it and what it was done to.
const DEEDS: &[(&str, &str)] = &[
    ("approval.asked", "asked its owner about a use of"),
    ("approval.denied", "said no to a use of"),
    ("approval.granted", "said yes to a use of"),
    ("approval.removed", "took back an answer about"),
    ("approval.used", "let through what was approved once:"),
    ("bundle.added", "added a bundle of"),
    ("bundle.changed", "changed a bundle of"),
    ("bundle.removed", "removed a bundle of"),
    ("bundle.shared", "shared a bundle of"),
    ("bundle.unshared", "ended a share of a bundle of"),
    (
        "ca.retired",
        "retired the certificate authority that was replaced",
    ),
    ("ca.rotated", "made the next certificate authority"),
    ("client.added", "added the client"),
    ("client.changed", "changed the client"),
    ("client.removed", "removed the client"),
    ("credential.allowed", "changed the limits of"),
    ("credential.attached", "attached"),
    ("credential.created", "saved"),
    ("credential.deleted", "deleted"),
    ("credential.destroyed", "erased a version of"),
    ("credential.detached", "detached"),
    ("credential.handed_over", "handed over"),
    ("credential.promoted", "promoted the staged version of"),
    ("credential.restored", "restored"),
    ("credential.revoked", "revoked"),
    ("credential.rolled_back", "rolled back"),
    ("credential.rotated", "replaced the value of"),
    ("credential.shared", "shared"),
    ("credential.staged", "staged a version of"),
    ("credential.stand_in_added", "made a stand-in for"),
    ("credential.stand_in_revoked", "revoked a stand-in for"),
    ("credential.unshared", "ended a share of"),
    ("egress.added", "added a rule about where clients go"),
    ("egress.removed", "removed a rule about where clients go"),
    ("group.added", "added a group"),
    ("group.joined", "put into a group:"),
    ("group.left", "took out of a group:"),
    ("group.removed", "removed a group"),
    ("request.answered", "saved what a client asked for:"),
    ("request.asked", "asked for"),
    ("request.declined", "declined to save"),
    (
        "store.accepted",
        "accepted what had changed the store from outside",
    ),
    ("store.backed_up", "made a backup"),
    ("store.rekeyed", "sealed the store under another master key"),
    ("store.restored", "put a backup back"),
    ("token.created", "made an API token of"),
    ("token.revoked", "revoked an API token of"),
    ("user.added", "added the user"),
    ("user.changed", "changed the user"),
    ("user.disabled", "disabled the user"),
    ("user.enabled", "enabled the user"),
    ("user.invited", "made a one-time link"),
    (
        "user.linked",
        "linked an account of the identity provider to",
    ),
    ("user.password_changed", "changed the password of"),
    ("user.reset", "reset the sign-in of"),
    ("user.signed_in", "signed in"),
    ("user.signed_out", "signed out"),
];

/// What the ledger is filtered for: each word covers the events that begin with it.
pub(super) const EVENTS: &[(&str, &[&str])] = &[
    (
        "Requests",
        &[
            event::USE,
            event::RESULT,
            event::DENIED,
            event::SCRUBBED,
            event::IGNORED,
            event::DESTINATION,
            event::OWN_KEY,
            event::REJECTED,
            event::ACCEPTED,
            event::RECOVERED,
        ],
    ),
    (
        "Changes",
        &[
            "credential",
            "approval",
            "request",
            "client",
            "token",
            "user",
            "group",
            "bundle",
            "egress",
        ],
    ),
    ("Server", &["ledger", "store", "ca"]),
];

/// What a line says. Names are those that clients and users chose.
pub(super) fn sentence(entry: &Entry<'_>) -> String {
    let slug = text::shown_or_dash(entry.slug.as_deref());
    let (who, place) = (client(entry), request(entry));
    let code = text::shown_or_dash(entry.code.as_deref());
    match &*entry.event {
        event::USE => {
            let version = entry.version.unwrap_or_default();
            format!("{who} used {slug}, version {version}: {place}")
        }
        event::DENIED => format!("{who} was refused {slug} ({code}): {place}"),
        event::RESULT => {
            let end = match (entry.status, entry.code.as_deref()) {
                (_, Some(_)) => format!("ended with {code}"),
                (Some(status), None) => format!("was answered with {status}"),
                (None, None) => format!("ended: {}", text::shown_or_dash(entry.outcome.as_deref())),
            };
            let after = entry.duration_ms.map(|ms| format!(" after {ms} ms"));
            format!("{place} {end}{} for {who}", after.unwrap_or_default())
        }
        event::SCRUBBED => format!("{slug} was taken out of an answer: {place}"),
        event::IGNORED => format!("<<{slug}>> was passed on as it stood: {place}"),
        event::RECOVERED => format!("What became of a use of {slug} is not known: Egret was ended"),
        event::DAMAGED => format!("Something of the ledger was missing or did not fit ({code})"),
        event::DESTINATION => format!("{who} went to {} for the first time", place_of(entry)),
        event::OWN_KEY => format!(
            "{who} sent a key of its own, which Egret does not hold, to {}{}",
            place_of(entry),
            details(entry)
        ),
        event::REJECTED => format!("{} no longer accepts {}", place_of(entry), version(entry)),
        event::ACCEPTED => format!("{} accepts {} again", place_of(entry), version(entry)),
        event::INTERRUPTED => {
            "The ledger could not be written for a time, and requests were refused".to_owned()
        }
        event::DROPPED => format!("Old files of the ledger are removed{}", details(entry)),
        event::TAKEN_BACK => format!(
            "A new program did not take over, and the one before it goes on{}",
            details(entry)
        ),
        event::SIGNED => format!("Checkpoints are signed from here on{}", details(entry)),
        event::UNVERIFIED => format!(
            "Something in the store is not what Egret wrote{}{}",
            object(entry).map_or_else(String::new, |what| format!(": {what}")),
            details(entry)
        ),
        _ => deed(entry),
    }
}

/// Which client, for what.
fn client(entry: &Entry<'_>) -> String {
    match (entry.client.as_deref(), entry.action.as_deref()) {
        (Some(client), Some(action)) => {
            format!("{} for {}", text::shown(client), text::shown(action))
        }
        (None, Some(action)) => text::shown(action),
        (client, None) => text::shown_or_dash(client),
    }
}

/// The request of a line.
fn request(entry: &Entry<'_>) -> String {
    let Some(destination) = entry.destination.as_deref() else {
        return "A request".to_owned();
    };
    format!(
        "{} {}{}",
        text::shown(entry.method.as_deref().unwrap_or_default()),
        text::host(destination),
        text::shown(entry.path.as_deref().unwrap_or_default()),
    )
}

/// Who did what to what, and how. What is not in the table is named by its event.
fn deed(entry: &Entry<'_>) -> String {
    let known = DEEDS.iter().find(|(event, _)| *event == &*entry.event);
    let done = known.map_or_else(
        || text::shown(&entry.event).replace(['.', '_'], " "),
        |(_, words)| (*words).to_owned(),
    );
    let (who, way) = actor(entry.action.as_deref().unwrap_or_default());
    let is_own = matches!(&*entry.event, "user.signed_in" | "user.signed_out");
    let what = object(entry).filter(|_| !is_own);
    let to = match &*entry.event {
        "user.invited" => "for ",
        _ => "",
    };
    let what = what.map_or_else(String::new, |what| format!(" {to}{what}"));
    format!("{who} {done}{what}{way}{}", details(entry))
}

/// Where a request went.
fn place_of(entry: &Entry<'_>) -> String {
    let destination = entry.destination.as_deref();
    destination.map_or_else(|| "The service".to_owned(), text::host)
}

/// A version of a credential.
fn version(entry: &Entry<'_>) -> String {
    let what = object(entry).unwrap_or_else(|| "a credential".to_owned());
    format!("{what}, version {}", entry.version.unwrap_or_default())
}

/// What else the line says, in brackets.
fn details(entry: &Entry<'_>) -> String {
    // The times and limits that the line has for programs are not for a sentence.
    let is_detail = |text: &str| {
        !["since ", "change ", "{"]
            .iter()
            .any(|it| text.starts_with(it))
    };
    let details: Vec<_> = entry
        .locations
        .iter()
        .filter(|text| is_detail(text))
        .map(|text| text::shown(text))
        .collect();
    if details.is_empty() {
        String::new()
    } else {
        format!(" ({})", details.join(", "))
    }
}

/// Who acted, and through what.
fn actor(action: &str) -> (String, &'static str) {
    match action.split_once(':') {
        Some(("server", _)) => ("Egret".to_owned(), ""),
        Some(("client", who)) => (text::shown(who), ""),
        Some(("page", who)) => (text::shown(who), " on the page"),
        Some(("cli", who)) => (text::shown(who), " with a command"),
        Some(("api", who)) => (text::shown(who), " through the API"),
        _ if action.is_empty() => ("Somebody".to_owned(), ""),
        _ => (text::shown(action), ""),
    }
}

/// What was acted on.
fn object(entry: &Entry<'_>) -> Option<String> {
    let of = |name: &str, owner: Option<&str>| match owner {
        Some(owner) => format!("{} of {}", text::shown(name), text::shown(owner)),
        None => text::shown(name),
    };
    if let Some(slug) = entry.slug.as_deref() {
        return Some(of(slug, entry.owner.as_deref()));
    }
    if let Some(client) = entry.client.as_deref() {
        return Some(of(client, entry.principal.as_deref()));
    }
    entry.principal.as_deref().map(text::shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sentences_without_what_deceives() {
        let used = Entry {
            slug: Some("gh".into()),
            client: Some("laptop".into()),
            action: Some("a\u{202e}b".into()),
            version: Some(2),
            method: Some("GET".into()),
            destination: Some("https://api.github.com:443".into()),
            path: Some("/user".into()),
            ..Entry::new(event::USE)
        };
        assert_eq!(
            sentence(&used),
            "laptop for a\\u{202e}b used gh, version 2: GET api.github.com/user"
        );
        let ended = Entry {
            event: event::RESULT.into(),
            action: Some("report".into()),
            status: Some(200),
            duration_ms: Some(7),
            ..used
        };
        assert_eq!(
            sentence(&ended),
            "GET api.github.com/user was answered with 200 after 7 ms for laptop for report"
        );
    }

    #[test]
    fn every_event_can_be_filtered_for() {
        let words: Vec<_> = EVENTS.iter().flat_map(|(_, words)| *words).collect();
        let deeds = DEEDS.iter().map(|(event, _)| event);
        for event in event::ALL.iter().chain(deeds) {
            let group = event.split('.').next();
            assert!(words.iter().any(|word| Some(**word) == group), "{event}");
        }
    }

    #[test]
    fn what_was_done_is_said_with_who_did_it_and_how() {
        let by = |event: &'static str, action: &'static str| Entry {
            action: Some(action.into()),
            ..Entry::new(event)
        };
        let saved = Entry {
            slug: Some("gh".into()),
            owner: Some("alice".into()),
            locations: vec!["since 2026".into(), "change 4".into(), "for <b>".into()],
            ..by("credential.created", "cli:root")
        };
        assert_eq!(
            sentence(&saved),
            "root saved gh of alice with a command (for <b>)"
        );
        let added = Entry {
            client: Some("laptop".into()),
            principal: Some("alice".into()),
            ..by("client.added", "page:alice")
        };
        assert_eq!(
            sentence(&added),
            "alice added the client laptop of alice on the page"
        );
        let invited = Entry {
            principal: Some("ada".into()),
            ..by("user.invited", "cli:root")
        };
        assert_eq!(
            sentence(&invited),
            "root made a one-time link for ada with a command"
        );
        let signed_in = Entry {
            principal: Some("alice".into()),
            ..by("user.signed_in", "page:alice")
        };
        assert_eq!(sentence(&signed_in), "alice signed in on the page");
        let rejected = Entry {
            slug: Some("gh".into()),
            owner: Some("alice".into()),
            version: Some(3),
            destination: Some("https://api.github.com:443".into()),
            ..Entry::new(event::REJECTED)
        };
        assert_eq!(
            sentence(&rejected),
            "api.github.com no longer accepts gh of alice, version 3"
        );
        let observed = Entry {
            client: Some("laptop".into()),
            destination: Some("http://a.example:80".into()),
            ..by(event::DESTINATION, "report")
        };
        assert_eq!(
            sentence(&observed),
            "laptop for report went to http://a.example for the first time"
        );
        assert_eq!(
            sentence(&by("some.new_thing", "server:start")),
            "Egret some new thing"
        );
    }
}
