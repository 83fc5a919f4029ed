//! What every page has around it.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::assets;
use super::failure;
use super::person::Person;
use super::text;

/// The part of the navigation that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Credentials,
    Approvals,
    Requests,
    Clients,
    Rules,
    People,
    Tokens,
    Ledger,
}

impl Section {
    /// The entries of the navigation in their order.
    const ALL: [(Section, &'static str, &'static str, &'static str); 9] = [
        (Section::Overview, "/", "Overview", "overview"),
        (
            Section::Credentials,
            "/settings/credentials",
            "Credentials",
            "key",
        ),
        (Section::Approvals, "/approvals", "Approvals", "approval"),
        (Section::Requests, "/requests", "Requests", "request"),
        (Section::Clients, "/settings/clients", "Clients", "client"),
        (
            Section::Rules,
            "/settings/rules",
            "Where clients go",
            "route",
        ),
        (Section::People, "/settings/people", "People", "people"),
        (Section::Tokens, "/settings/tokens", "API tokens", "token"),
        (Section::Ledger, "/ledger", "Ledger", "ledger"),
    ];
}

/// An entry of the navigation.
pub(super) struct Entry {
    pub(super) href: &'static str,
    pub(super) label: &'static str,
    pub(super) icon: &'static str,
    pub(super) is_current: bool,
}

/// What every page has around it.
pub(super) struct Layout {
    pub(super) title: String,
    pub(super) entries: Vec<Entry>,
    pub(super) user: String,
    pub(super) role: &'static str,
    pub(super) style: String,
    pub(super) icon: String,
    pub(super) script: String,
    /// What was just done.
    pub(super) notice: Option<&'static str>,
}

impl Layout {
    pub(super) fn new(title: impl Into<String>, section: Section, person: &Person) -> Self {
        let caller = &person.caller;
        let name = match caller.display_name.as_str() {
            "" => caller.user.as_str(),
            name => name,
        };
        Self {
            title: title.into(),
            entries: Section::ALL
                .map(|(entry, href, label, icon)| Entry {
                    href,
                    label,
                    icon,
                    is_current: entry == section,
                })
                .into(),
            user: text::shown(name),
            role: caller.role.as_str(),
            style: assets::style(),
            icon: assets::icon(),
            script: assets::script(),
            notice: None,
        }
    }

    /// With a sentence about what was just done, by its name in the address. Nothing else of the
    /// address is shown.
    pub(super) fn with_notice(mut self, name: &str) -> Self {
        let found = NOTICES.iter().find(|(known, _)| *known == name);
        self.notice = found.map(|(_, text)| *text);
        self
    }
}

const NOTICES: &[(&str, &str)] = &[
    (
        "saved",
        "Saved. The value is sealed and is not shown again.",
    ),
    (
        "rotated",
        "The new value is in use from the next request on.",
    ),
    (
        "staged",
        "The new value is saved and waits. Promote it when you are ready.",
    ),
    ("promoted", "The value that waited is in use now."),
    ("rolled-back", "The earlier value is in use again."),
    ("destroyed", "The version is erased."),
    ("limits", "The limits hold from the next request on."),
    (
        "unchanged",
        "Nothing was different, so nothing was changed.",
    ),
    (
        "revoked",
        "Revoked. The next request is refused, inside open connections too.",
    ),
    ("restored", "It works again."),
    (
        "deleted",
        "Deleted, with its values and shares. Its lines in the ledger stay.",
    ),
    ("shared", "Shared. It can be used, and never read."),
    ("unshared", "The share is ended."),
    (
        "client-removed",
        "The client is removed. Its tokens no longer work.",
    ),
    ("approved-once", "Yes, for this one request."),
    (
        "approved-always",
        "Yes, for this client, action and destination from now on.",
    ),
    ("approval-denied", "No. The request is refused."),
    ("approval-removed", "Taken back, from the next request on."),
    (
        "declined",
        "Declined. The client is told when it asks again.",
    ),
    ("rule-added", "The rule holds from the next request on."),
    ("rule-removed", "The rule is removed."),
    (
        "token-revoked",
        "Revoked. The token does not work any more.",
    ),
    ("user-added", "The user is added."),
    ("user-changed", "The user is changed."),
    ("group-changed", "The group is changed."),
    ("group-removed", "The group is removed."),
    ("bundle-changed", "The bundle is changed."),
];

/// A page.
pub(super) fn page(page: &impl Template) -> Response {
    failure::html(StatusCode::OK, page)
}

/// A form that is shown again with what is wrong.
pub(super) fn refused(page: &impl Template) -> Response {
    failure::html(StatusCode::UNPROCESSABLE_ENTITY, page)
}
