//! Parameters where there are none: whoever sends one means something by it, and would take the answer for it.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::Method;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use super::request::no_parameters;

/// Operations that have no parameters in their query, by method and path.
pub(super) struct Unasked(HashSet<(Method, String)>);

impl Unasked {
    /// As the document has them.
    pub(super) fn of(document: &OpenApi) -> Arc<Self> {
        let paths = document.paths.paths.iter();
        let operations = paths.flat_map(|(path, item)| {
            let methods = [
                (Method::GET, &item.get),
                (Method::PUT, &item.put),
                (Method::POST, &item.post),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            methods.map(|(method, operation)| (method, path, operation.as_ref()))
        });
        let without = operations.filter(|(.., operation)| operation.is_some_and(is_without));
        Arc::new(Self(
            without
                .map(|(method, path, _)| (method, path.clone()))
                .collect(),
        ))
    }

    /// Refuses a query that nothing would read.
    pub(super) async fn refuse(self: Arc<Self>, request: Request, next: Next) -> Response {
        let query = request.uri().query().filter(|query| !query.is_empty());
        let path = request.extensions().get::<MatchedPath>();
        if let (Some(query), Some(path)) = (query, path) {
            let operation = (request.method().clone(), path.as_str().to_owned());
            if self.0.contains(&operation) {
                return no_parameters(query).into_response();
            }
        }
        next.run(request).await
    }
}

fn is_without(operation: &Operation) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.all(|parameter| match parameter {
        RefOr::T(parameter) => !matches!(parameter.parameter_in, ParameterIn::Query),
        RefOr::Ref(_) => false,
    })
}
