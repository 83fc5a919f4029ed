//! Answers: JSON with the entity tag of what it shows, and pages of lists.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::condition::etag;
use crate::admin::part::Part;

/// How many items a page has, if the request does not say.
const USUAL: usize = 100;
/// Most items of a page.
pub const MOST: usize = 500;

/// A JSON answer.
pub struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    revision: Option<i64>,
    closes: bool,
}

impl Answer {
    /// What was asked for.
    pub fn ok(view: &impl Serialize) -> Self {
        Self {
            status: StatusCode::OK,
            // A view is a struct of texts and numbers, whose serialising cannot fail.
            body: serde_json::to_vec(view).unwrap_or_default(),
            revision: None,
            closes: false,
        }
    }

    /// The same, of something that was just made.
    pub fn newly_made(self) -> Self {
        Self {
            status: StatusCode::CREATED,
            ..self
        }
    }

    /// It is gone.
    pub fn gone() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: Vec::new(),
            revision: None,
            closes: false,
        }
    }

    /// The same, of an object with this revision.
    pub fn at(self, revision: Option<i64>) -> Self {
        Self { revision, ..self }
    }

    /// The same, after which the connection ends: its buffers had a value or a token in them.
    pub fn closing(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let has_body = self.status != StatusCode::NO_CONTENT;
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if has_body {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        if let Some(revision) = self.revision {
            headers.insert(header::ETAG, etag(revision));
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, for `after`; `null` on the last one.
    pub next: Option<String>,
}

/// How many items a page is to have: 1 to [`MOST`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "usize")]
pub struct PageSize(usize);

impl TryFrom<usize> for PageSize {
    type Error = &'static str;

    fn try_from(asked: usize) -> Result<Self, Self::Error> {
        match asked {
            1..=MOST => Ok(Self(asked)),
            _ => Err("a page has 1 to 500 items"),
        }
    }
}

/// How many items a page has.
pub fn page_size(asked: Option<PageSize>) -> usize {
    asked.map_or(USUAL, |PageSize(asked)| asked)
}

impl<T> Page<T> {
    /// The same with other views of its items.
    pub fn map<U>(self, view: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(view).collect(),
            next: self.next,
        }
    }

    /// The first `size` of `items`, which are in order and all there are, or more than fit.
    pub fn of_first(mut items: Vec<T>, size: usize, key: impl Fn(&T) -> String) -> Self {
        let has_more = items.len() > size;
        items.truncate(size);
        let next = items.last().filter(|_| has_more).map(key);
        Self { items, next }
    }

    /// The first `size` of `items`, in the order of their keys, whose keys are after `after`.
    pub fn of<S>(
        items: impl Iterator<Item = S>,
        key: impl Fn(&S) -> String,
        after: Option<&str>,
        size: usize,
        view: impl FnMut(S) -> T,
    ) -> Self {
        let keyed = items.map(|item| (key(&item), item));
        let part = Part::of(keyed, after.map(str::to_owned).as_ref(), size);
        let next = part.next().cloned();
        let items = part.items.into_iter().map(|(_, item)| item);
        Self {
            items: items.map(view).collect(),
            next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let all = ["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let key = |item: &&&str| (**item).to_owned();
            let page = Page::of(all.iter(), key, after.as_deref(), 2, |item| *item);
            seen.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, all);
        let none = Page::of(all.iter(), |item| (**item).to_owned(), Some("e"), 2, |i| *i);
        assert!(none.items.is_empty() && none.next.is_none());
    }
}
