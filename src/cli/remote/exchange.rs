//! Requests to the API, and what is made of its answers.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::options::ServerArgs;
use crate::cli::output;
use crate::fetch::{FetchLimits, Fetched, Fetcher};
use crate::proxy::outbound::way::Way;
use crate::vault::Principal;
use crate::views;

/// What an answer of the API may take: a page of a list, or a proof.
const LIMITS: FetchLimits = FetchLimits {
    deadline: Duration::from_secs(60),
    longest: 32 * 1024 * 1024,
};

/// A server elsewhere, whose API answers to a personal token.
pub(in crate::cli) struct Remote {
    fetcher: Fetcher,
    base: String,
    authorization: HeaderValue,
    user: String,
}

/// The condition of a request.
pub(super) enum If<'a> {
    Nothing,
    /// `If-None-Match: *`
    New,
    /// `If-Match`
    Seen(&'a HeaderValue),
}

/// A part of a list.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl Remote {
    /// The server that is named, if one is: its API has answered to the token.
    pub(in crate::cli) async fn open(named: &ServerArgs) -> anyhow::Result<Option<Self>> {
        let Some(named) = named.read()? else {
            return Ok(None);
        };
        let fetcher = Fetcher::trusting(named.roots, Way::default()).await?;
        let bearer = format!("Bearer {}", named.token.as_str());
        let mut authorization = HeaderValue::from_str(&bearer)?;
        authorization.set_sensitive(true);
        let mut remote = Self {
            fetcher: fetcher.within(LIMITS),
            base: named.base,
            authorization,
            user: String::new(),
        };
        let me: views::Me = remote.get("/me").await?;
        remote.user = me.user;
        Ok(Some(remote))
    }

    /// Whom the token is for.
    pub(in crate::cli) fn user(&self) -> anyhow::Result<Principal> {
        let user = self.user.parse();
        user.map_err(|_| anyhow!("{} is no server of Egret", self.base))
    }

    /// What is at `path` of the API.
    pub(in crate::cli) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.read(&self.send(Method::GET, path, If::Nothing, None).await?)
    }

    /// The same for another program: nothing is taken out of its texts.
    pub(super) async fn get_exactly<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.send(Method::GET, path, If::Nothing, None).await?;
        self.succeeded(&answer)?;
        self.understood(serde_json::from_slice(&answer.body).ok())
    }

    /// Every item of a list, page by page. `path` may have a query.
    pub(in crate::cli) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> anyhow::Result<Vec<T>> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page: Page<T> = self.get(&format!("{path}{joint}limit=500{after}")).await?;
            let is_empty = page.items.is_empty();
            items.extend(page.items);
            match page.next {
                Some(next) if !is_empty => after = format!("&after={}", segment(&next)),
                _ => return Ok(items),
            }
        }
    }

    /// Makes what is not there yet.
    pub(in crate::cli) async fn create<T: DeserializeOwned>(
        &self,
        path: &str,
        message: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = Some(serde_json::to_vec(message)?.into());
        self.read(&self.send(Method::PUT, path, If::New, body).await?)
    }

    /// Sends a message that is about nothing that has an `ETag`.
    pub(in crate::cli) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        message: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = Some(serde_json::to_vec(message)?.into());
        self.read(&self.send(Method::POST, path, If::Nothing, body).await?)
    }

    /// Removes what has no `ETag`.
    pub(in crate::cli) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let answer = self.send(Method::DELETE, path, If::Nothing, None).await?;
        self.succeeded(&answer)
    }

    /// The same, of what the server says something about.
    pub(in crate::cli) async fn remove<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> anyhow::Result<T> {
        self.read(&self.send(Method::DELETE, path, If::Nothing, None).await?)
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        condition: If<'_>,
        body: Option<Bytes>,
    ) -> anyhow::Result<Fetched> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        match condition {
            If::Nothing => {}
            If::New => {
                headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
            }
            If::Seen(tag) => {
                headers.insert(header::IF_MATCH, tag.clone());
            }
        }
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let url = format!("{}/api/v1{path}", self.base);
        let asked = self
            .fetcher
            .request(&url, method, headers, body.unwrap_or_default());
        Ok(asked.await?)
    }

    /// An answer that is what was asked for.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Fetched) -> anyhow::Result<T> {
        self.succeeded(answer)?;
        // What a parser says quotes the answer.
        let read = serde_json::from_slice::<Value>(&answer.body).ok();
        self.understood(read.and_then(|read| serde_json::from_value(printable(read)).ok()))
    }

    fn understood<T>(&self, read: Option<T>) -> anyhow::Result<T> {
        read.with_context(|| {
            format!(
                "{} answered with what this version of Egret does not understand",
                self.base
            )
        })
    }

    /// Whether the server did what was asked; what it says, if it did not.
    pub(super) fn succeeded(&self, answer: &Fetched) -> anyhow::Result<()> {
        if answer.status.is_success() {
            return Ok(());
        }
        let problem = serde_json::from_slice::<Problem>(&answer.body);
        let Ok(problem) = problem else {
            bail!(
                "{} answered with status {}",
                self.base,
                answer.status.as_u16()
            );
        };
        let mut text = format!("{}: {}", self.base, problem.title);
        if !problem.detail.is_empty() {
            text += &format!(". {}", problem.detail);
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            text += ". The API token is unknown, removed or over";
        }
        for wrong in problem.errors {
            let name = if wrong.field.is_empty() { "" } else { ": " };
            text += &format!("; {}{name}{}", wrong.field, wrong.detail);
        }
        Err(anyhow!(output::printable(&text)))
    }
}

/// An answer whose texts do nothing to a terminal. Line feeds stay: a proof has some.
fn printable(answer: Value) -> Value {
    let clean = |text: String| match text.contains(|c: char| c.is_control() && c != '\n') {
        true => text
            .split('\n')
            .map(output::printable)
            .collect::<Vec<_>>()
            .join("\n"),
        false => text,
    };
    match answer {
        Value::String(text) => clean(text).into(),
        Value::Array(items) => items.into_iter().map(printable).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (clean(name), printable(value)))
            .collect(),
        other => other,
    }
}

/// A problem document (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<WrongField>,
}

#[derive(Deserialize)]
struct WrongField {
    field: String,
    detail: String,
}

/// A text as a segment of a path, or as a value in a query.
pub(in crate::cli) fn segment(text: &str) -> String {
    let encoded = form_urlencoded::byte_serialize(text.as_bytes());
    encoded.collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_cannot_move_the_cursor() {
        let answer = json!({"a\u{1b}[2J": ["\r", {"b": "1\n2\u{7}"}], "c": 1});
        let expected = json!({"a\u{fffd}[2J": ["\u{fffd}", {"b": "1\n2\u{fffd}"}], "c": 1});
        assert_eq!(printable(answer), expected);
    }

    #[test]
    fn a_text_is_one_segment() {
        assert_eq!(segment("req-1_a.b"), "req-1_a.b");
        assert_eq!(segment("a/../b? c+d"), "a%2F..%2Fb%3F%20c%2Bd");
    }
}
