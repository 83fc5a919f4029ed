//! Something of a server elsewhere that has an `ETag`: it is looked at, and changed as it was seen.

use http::{HeaderValue, Method, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::exchange::{If, Remote};
use crate::substitution::slug::Slug;
use crate::vault::Principal;

/// Something that has an `ETag`.
pub(in crate::cli) struct Thing<'a> {
    server: &'a Remote,
    path: String,
}

impl Remote {
    /// Something that has an `ETag`, at `path`.
    pub(in crate::cli) fn at(&self, path: String) -> Thing<'_> {
        Thing { server: self, path }
    }

    /// The credential of an owner.
    pub(in crate::cli) fn credential(&self, owner: &Principal, slug: &Slug) -> Thing<'_> {
        self.at(format!("/credentials/{owner}/{slug}"))
    }
}

/// A change that was made.
pub(in crate::cli) struct Changed {
    /// Whether anything is different now.
    pub(in crate::cli) changed: bool,
    view: Value,
}

impl Changed {
    /// What it is like now.
    pub(in crate::cli) fn view<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        Ok(serde_json::from_value(self.view)?)
    }
}

impl Thing<'_> {
    /// What it is like.
    pub(in crate::cli) async fn show<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        self.server.get(&self.path).await
    }

    /// Its tag, and what it is like.
    async fn seen(&self) -> anyhow::Result<HeaderValue> {
        let answer = self.server.send(Method::GET, &self.path, If::Nothing, None);
        let answer = answer.await?;
        self.server.succeeded(&answer)?;
        let tag = answer.headers.get(header::ETAG);
        // What has none may be changed whatever it is.
        Ok(tag.cloned().unwrap_or(HeaderValue::from_static("*")))
    }

    /// Sends a message to a place below it.
    pub(in crate::cli) async fn post(
        &self,
        below: &str,
        message: &impl Serialize,
    ) -> anyhow::Result<Changed> {
        let body = serde_json::to_vec(message)?;
        self.change(Method::POST, below, Some(body)).await
    }

    /// Asks for something below it without a message.
    pub(in crate::cli) async fn ask(&self, below: &str) -> anyhow::Result<Changed> {
        self.change(Method::POST, below, None).await
    }

    /// Puts a message to a place below it.
    pub(in crate::cli) async fn put(
        &self,
        below: &str,
        message: &impl Serialize,
    ) -> anyhow::Result<Changed> {
        let body = serde_json::to_vec(message)?;
        self.change(Method::PUT, below, Some(body)).await
    }

    /// Puts what needs no message to a place below it.
    pub(in crate::cli) async fn put_bare(&self, below: &str) -> anyhow::Result<Changed> {
        self.change(Method::PUT, below, None).await
    }

    /// Changes some of it.
    pub(in crate::cli) async fn patch(&self, message: &impl Serialize) -> anyhow::Result<Changed> {
        let body = serde_json::to_vec(message)?;
        self.change(Method::PATCH, "", Some(body)).await
    }

    /// Takes away something below it, or itself.
    pub(in crate::cli) async fn delete(&self, below: &str) -> anyhow::Result<Changed> {
        self.change(Method::DELETE, below, None).await
    }

    async fn change(
        &self,
        method: Method,
        below: &str,
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Changed> {
        let seen = self.seen().await?;
        let path = format!("{}{below}", self.path);
        let body = body.map(Into::into);
        let answer = self.server.send(method, &path, If::Seen(&seen), body);
        let answer = answer.await?;
        if answer.body.is_empty() {
            self.server.succeeded(&answer)?;
            let (changed, view) = (true, Value::Null);
            return Ok(Changed { changed, view });
        }
        Ok(Changed {
            changed: answer.headers.get(header::ETAG) != Some(&seen),
            view: self.server.read(&answer)?,
        })
    }
}
