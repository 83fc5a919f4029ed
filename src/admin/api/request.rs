//! Reading requests: bodies, names in paths, and queries.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::request::Parts;
use http::{HeaderMap, Uri, header};
use serde::de::DeserializeOwned;

use super::fields::{Fields, NotAnObject, unknown};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, FieldProblem, Trouble};

/// Longest body of a request, in bytes. A value has at most 64 KiB, which JSON may make six times as
/// long.
pub const MAX_BODY: usize = 512 * 1024;

/// Longest time until a body has come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request that is a JSON object.
pub trait Message: Sized {
    /// The names of its members.
    const MEMBERS: &'static [&'static str];

    /// Reads each of them; `None` if something is wrong with one.
    fn read(fields: &mut Fields) -> Option<Self>;
}

/// Declares a [`Message`]: its members, what they are read as, and what the document calls that.
macro_rules! message {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty as $shown:ty,)*
    }) => {
        $(#[$doc])*
        #[derive(utoipa::ToSchema)]
        pub struct $name {
            $($(#[$field_doc])* #[schema(value_type = $shown)] pub $field: $type,)*
        }

        impl $crate::admin::api::request::Message for $name {
            const MEMBERS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn read(fields: &mut $crate::admin::api::fields::Fields) -> Option<Self> {
                $(let $field = fields.take(stringify!($field));)*
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}
pub(super) use message;

/// The body of a request. It has to be JSON, and to be there in time.
pub struct Json<T>(pub T);

impl<T: Message> FromRequest<AdminContext> for Json<T> {
    type Rejection = AdminProblem;

    async fn from_request(request: Request, _: &AdminContext) -> Result<Self, AdminProblem> {
        if !is_json(request.headers()) {
            return Err(AdminProblem::because(
                Trouble::UnsupportedType,
                "Send JSON, with Content-Type: application/json.",
            ));
        }
        let body = read(request.into_body()).await?;
        parse(&body).map(Self)
    }
}

/// Reads a message from the text of a body.
pub fn parse<T: Message>(text: &[u8]) -> Result<T, AdminProblem> {
    let fields = Fields::parse(text);
    let mut fields =
        fields.map_err(|NotAnObject(detail)| AdminProblem::because(Trouble::Malformed, detail))?;
    let message = T::read(&mut fields);
    let problems = fields.finish(T::MEMBERS);
    match message {
        Some(message) if problems.is_empty() => Ok(message),
        _ => Err(AdminProblem {
            fields: problems,
            ..AdminProblem::new(Trouble::Invalid)
        }),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok());
    let name = media_type.and_then(|text| text.split(';').next());
    name.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(body: Body) -> Result<axum::body::Bytes, AdminProblem> {
    let read = tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, MAX_BODY)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        // Too long, or the connection broke off, to which nobody listens any more.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(AdminProblem::because(
            Trouble::Malformed,
            "The body did not come in time.",
        )),
    }
}

/// A body or a value that is too long.
pub fn too_large() -> AdminProblem {
    AdminProblem::because(
        Trouble::TooLarge,
        "A value has at most 64 KiB, and a request at most 512 KiB.",
    )
}

/// The names in the path of a request, as text. What is no text is the name of nothing.
pub struct Names<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AdminContext> for Names<T> {
    type Rejection = AdminProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, AdminProblem> {
        let names = Path::<T>::from_request_parts(parts, context).await;
        match names {
            Ok(Path(names)) => Ok(Self(names)),
            Err(_) => Err(AdminProblem::new(Trouble::NotFound)),
        }
    }
}

/// Something that a path names; what is no name is the name of nothing.
pub fn named<T: std::str::FromStr>(text: &str) -> Result<T, AdminProblem> {
    text.parse()
        .map_err(|_| AdminProblem::new(Trouble::NotFound))
}

/// The name of something that is to be made. What such a name is made of is no secret.
pub fn new_name<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &'static str,
    text: &str,
) -> Result<T, AdminProblem> {
    text.parse()
        .map_err(|error: T::Err| AdminProblem::field(field, error.to_string()))
}

/// The query of a request. Parameters that do not exist are refused: one that is misspelt would be
/// a filter that does nothing.
pub struct Search<T>(pub T);

impl<T: DeserializeOwned + utoipa::IntoParams + Send> FromRequestParts<AdminContext> for Search<T> {
    type Rejection = AdminProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, AdminProblem> {
        let query = Query::<T>::from_request_parts(parts, context).await;
        match query {
            Ok(Query(query)) => Ok(Self(query)),
            Err(_) => Err(wrong_parameters::<T>(parts.uri.query().unwrap_or_default())),
        }
    }
}

/// What is wrong with which parameters of a query. What a parser says would quote them.
fn wrong_parameters<T: DeserializeOwned + utoipa::IntoParams>(query: &str) -> AdminProblem {
    let known = T::into_params(|| None);
    let known: Vec<_> = known
        .iter()
        .map(|parameter| parameter.name.as_str())
        .collect();
    let given: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let mut fields = Vec::new();
    for (at, (name, _)) in given.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            fields.push(unknown("parameter", name, &known));
        } else if given[..at].iter().any(|(before, _)| before == name) {
            fields.push(wrong(name, "it is given twice"));
        }
    }
    if fields.is_empty() {
        let without = |left_out: &str| {
            let rest = given.iter().filter(|(name, _)| name != left_out);
            let mut query = form_urlencoded::Serializer::for_suffix("/?".to_owned(), 2);
            for (name, value) in rest {
                query.append_pair(name, value);
            }
            query.finish().parse::<Uri>().ok()
        };
        let is_right = |uri: &Uri| Query::<T>::try_from_uri(uri).is_ok();
        let culprits = given
            .iter()
            .filter(|(name, _)| without(name).as_ref().is_some_and(is_right));
        fields.extend(
            culprits.map(|(name, _)| wrong(name, "it is not of its form, or out of range")),
        );
    }
    let detail = format!(
        "A parameter is missing, or not of its form. Those known are {}.",
        known.join(", ")
    );
    AdminProblem {
        fields,
        ..AdminProblem::because(Trouble::Invalid, detail)
    }
}

fn wrong(name: &str, detail: &'static str) -> FieldProblem {
    FieldProblem {
        field: name.to_owned().into(),
        detail: detail.into(),
    }
}

/// A query where there are no parameters.
pub fn no_parameters(query: &str) -> AdminProblem {
    let given = form_urlencoded::parse(query.as_bytes());
    AdminProblem {
        fields: given
            .map(|(name, _)| unknown("parameter", &name, &[]))
            .collect(),
        ..AdminProblem::because(Trouble::Invalid, "There are no parameters here.")
    }
}

/// A parameter that is read from its text.
pub fn parameter<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, AdminProblem> {
    let parse = |text: &str| {
        let parsed = text.parse::<T>();
        parsed.map_err(|error| AdminProblem::field(name, error.to_string()))
    };
    text.filter(|text| !text.is_empty()).map(parse).transpose()
}
