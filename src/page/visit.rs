//! What every page begins with: who opens it, what they may know of, and what the address asks for.

use std::convert::Infallible;

use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use http::request::Parts;

use super::failure::Failure;
use super::fields::Fields;
use super::layout::{Layout, Section};
use super::person::{Person, form_of};
use crate::admin::AdminContext;
use crate::vault::Sight;

/// The fields of the query string. A page without one has none.
pub(super) struct Query(pub(super) Fields);

/// Someone who opens a page, or is shown it again with what is wrong.
pub(super) struct Visit {
    pub(super) person: Person,
    /// What the person may know of.
    pub(super) sight: Sight,
    /// What the address asks for, or what was typed.
    pub(super) fields: Fields,
}

impl Visit {
    /// Of a person who typed `fields`.
    pub(super) async fn of(
        context: &AdminContext,
        person: Person,
        fields: Fields,
    ) -> Result<Self, Failure> {
        let sight = person.look(context).await?;
        Ok(Self {
            person,
            sight,
            fields,
        })
    }

    /// What the page has around it, with a word about what was just done.
    pub(super) fn layout(&self, title: impl Into<String>, section: Section) -> Layout {
        Layout::new(title, section, &self.person).with_notice(self.fields.text("done"))
    }
}

/// A form that somebody sent. Where the session ended meanwhile, what was typed waits in the form behind
/// the sign-in.
pub(super) struct Sent {
    pub(super) person: Person,
    pub(super) fields: Fields,
}

impl Sent {
    /// Demands proof, not older than a few minutes, that it is the user. It leads back to the form at
    /// `page`, with what was typed.
    pub(super) fn demand_fresh(&self, page: &str) -> Result<(), Failure> {
        self.person.demand_fresh(&self.fields.back_to(page))
    }

    /// The page again, with what was typed.
    pub(super) async fn again(self, context: &AdminContext) -> Result<Visit, Failure> {
        Visit::of(context, self.person, self.fields).await
    }
}

impl FromRequest<AdminContext> for Sent {
    type Rejection = Failure;

    async fn from_request(request: Request, context: &AdminContext) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let known = <Person as OptionalFromRequestParts<AdminContext>>::from_request_parts(
            &mut parts, context,
        );
        let person = known.await?;
        let page = form_of(&parts).unwrap_or_else(|| "/".to_owned());
        let fields = Fields::from_request(Request::from_parts(parts, body), context).await?;
        match person {
            Some(person) => Ok(Self { person, fields }),
            None => Err(Failure::sign_in(&fields.back_to(&page))),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(Fields::parse(query.as_bytes())))
    }
}

impl FromRequestParts<AdminContext> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, Failure> {
        let known = <Person as FromRequestParts<AdminContext>>::from_request_parts(parts, context);
        let person = known.await?;
        let query = parts.uri.query().unwrap_or_default();
        Self::of(context, person, Fields::parse(query.as_bytes())).await
    }
}
