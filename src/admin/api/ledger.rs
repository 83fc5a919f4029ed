//! The usage record: what used a credential, and pages of the ledger.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, PageSize, page_size};
use super::asked::Asked;
use super::credentials::CredentialPath;
use super::request::{Names, Search, parameter};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::ledger::reader::Filter;
use crate::ledger::window::{From, Lines, Window};
use crate::ledger::{Record, Timestamp};
use crate::vault::access::Scope;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(get_usage))
        .routes(routes!(list_lines))
}

/// Show what used a credential
///
/// For its owner, and for those who see everything.
#[utoipa::path(get, path = "/credentials/{owner}/{slug}/usage", tag = "usage",
    params(CredentialPath), responses((status = OK, body = views::Usage)))]
async fn get_usage(
    asked: Asked,
    Names(path): Names<CredentialPath>,
) -> Result<Answer, AdminProblem> {
    let (owner, slug) = path.parse()?;
    let is_own = owner == asked.caller.user;
    if asked.sight.credential(&owner, &slug).is_none() && !is_own && !asked.sight.sees_all() {
        return Err(AdminProblem::new(Trouble::NotFound));
    }
    asked.caller.demand(Scope::Audit)?;
    if !is_own && !asked.sight.sees_all() {
        return Err(AdminProblem::because(
            Trouble::Forbidden,
            "The usage of a credential is its owner's business.",
        ));
    }
    let usage = asked
        .context
        .services()
        .usage(owner.as_str(), slug.as_str())
        .await?;
    // A deleted credential is still in the ledger; one that never existed is not there.
    if !usage.is_known && asked.sight.credential(&owner, &slug).is_none() {
        return Err(AdminProblem::new(Trouble::NotFound));
    }
    Ok(Answer::ok(&usage))
}

/// Declares a query that says which lines are wanted, and more.
macro_rules! line_search {
    ($(#[$doc:meta])* $name:ident { $($(#[$extra_doc:meta])* $extra:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Default, Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(super) struct $name {
            /// Only lines about this slug.
            slug: Option<String>,
            /// Only lines of this action.
            action: Option<String>,
            /// Only lines of this execution of an action.
            run: Option<String>,
            /// Only lines of this user.
            principal: Option<String>,
            /// Only lines of this client.
            client: Option<String>,
            /// Only lines about this destination: a host, with or without scheme and port.
            destination: Option<String>,
            /// Only lines of this event; `credential` covers `credential.created` and its like.
            event: Option<String>,
            /// Only lines of this outcome.
            outcome: Option<String>,
            /// Only lines from this time on.
            #[param(format = DateTime)]
            since: Option<String>,
            /// Only lines before this time.
            #[param(format = DateTime)]
            until: Option<String>,
            $($(#[$extra_doc])* $extra: $type,)*
        }

        impl $name {
            /// The lines that the caller may see: those about the caller, or all.
            pub(super) fn window(&self, asked: &Asked) -> Result<Window, AdminProblem> {
                Ok(Window {
                    from: From::Before(None),
                    limit: page_size(None),
                    filter: Filter {
                        slug: self.slug.clone(),
                        action: self.action.clone(),
                        run: self.run.clone(),
                        principal: self.principal.clone(),
                        client: self.client.clone(),
                        destination: self.destination.clone(),
                        event: self.event.clone(),
                        outcome: self.outcome.clone(),
                        since: moment("since", self.since.as_deref())?,
                        until: moment("until", self.until.as_deref())?,
                    },
                    party: (!asked.sight.sees_all()).then(|| asked.caller.user.to_string()),
                })
            }
        }
    };
}

line_search! {
    /// Which lines of the ledger are wanted, and where the page is.
    PageSearch {
        /// The latest lines before this one, latest first; the last ones if neither is given.
        #[param(minimum = 1)]
        before: Option<u64>,
        /// The lines after this one, oldest first.
        after: Option<u64>,
        /// How many lines a page has, at most 500.
        #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
        limit: Option<PageSize>,
    }
}

line_search! {
    /// Which lines of the ledger are wanted.
    LineSearch {}
}

/// A point in time of the ledger.
struct Moment(Timestamp);

/// A parameter that says a point in time.
pub(super) fn moment(
    name: &'static str,
    text: Option<&str>,
) -> Result<Option<Timestamp>, AdminProblem> {
    let time = parameter::<Moment>(name, text)?;
    Ok(time.map(|moment| moment.0))
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let format = &time::format_description::well_known::Rfc3339;
        let time = time::OffsetDateTime::parse(text, format);
        let time = time.map_err(|_| "write a time as in 2027-01-31T12:00:00Z")?;
        let micros = i64::try_from(time.unix_timestamp_nanos() / 1000);
        let micros = micros.map_err(|_| "that time cannot be written")?;
        Ok(Self(Timestamp::from_unix_micros(micros)))
    }
}

/// A part of the ledger.
#[derive(Serialize, ToSchema)]
struct LinePage {
    /// The lines, with the keys that the reference describes.
    #[schema(value_type = Vec<serde_json::Map<String, serde_json::Value>>)]
    items: Vec<Record>,
    /// Where the next page begins, for `before` or `after`; `null` at the end.
    next: Option<u64>,
}

/// Show lines of the ledger
///
/// Those that concern the caller. Administrators and auditors see all.
#[utoipa::path(get, path = "/ledger", tag = "usage", params(PageSearch),
    responses((status = OK, body = LinePage)))]
async fn list_lines(
    asked: Asked,
    Search(search): Search<PageSearch>,
) -> Result<Answer, AdminProblem> {
    asked.caller.demand(Scope::Audit)?;
    let mut window = search.window(&asked)?;
    window.limit = page_size(search.limit);
    window.from = match (search.before, search.after) {
        (Some(_), Some(_)) => {
            return Err(AdminProblem::field(
                "before",
                "give before or after, not both",
            ));
        }
        (before, None) => From::Before(before),
        (None, Some(after)) => From::After(after),
    };
    let Lines { records, next } = asked.context.services().lines(window).await?;
    Ok(Answer::ok(&LinePage {
        items: records,
        next,
    }))
}
