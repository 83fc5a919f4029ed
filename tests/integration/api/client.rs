//! A program that uses the API with a personal token.

use serde_json::Value;

use crate::wire::{Response, Wire};
use crate::within;
use crate::world::World;

/// A program with a token, or without one.
#[derive(Clone)]
pub struct Api<'a> {
    pub world: &'a World,
    pub token: Option<String>,
}

/// What a request is sent with.
#[derive(Clone, Copy)]
pub enum When<'a> {
    /// Nothing.
    Always,
    /// `If-None-Match: *`
    New,
    /// `If-Match: *`
    Any,
    /// `If-Match` with this tag.
    As(&'a str),
}

impl<'a> Api<'a> {
    /// With a token of `user`, made on the host.
    pub async fn of(world: &'a World, user: &str, scope: &str) -> Self {
        let made = world
            .run(&[
                "api-token",
                "add",
                "tests",
                "--user",
                user,
                "--scope",
                scope,
                "--expires",
                "1d",
                "--json",
            ])
            .await
            .json();
        Self {
            world,
            token: Some(made["token"].as_str().expect("a token").to_owned()),
        }
    }

    /// Without a token.
    pub fn nobody(world: &'a World) -> Self {
        Self { world, token: None }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send("GET", path, When::Always, None).await
    }

    pub async fn put(&self, path: &str, when: When<'_>, body: Value) -> Response {
        self.send("PUT", path, when, Some(body)).await
    }

    pub async fn post(&self, path: &str, when: When<'_>, body: Value) -> Response {
        self.send("POST", path, when, Some(body)).await
    }

    pub async fn delete(&self, path: &str, when: When<'_>) -> Response {
        self.send("DELETE", path, when, None).await
    }

    /// A request below `/api/v1`.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        when: When<'_>,
        body: Option<Value>,
    ) -> Response {
        let body = body.map(|body| body.to_string());
        self.send_text(method, path, when, body.as_deref()).await
    }

    /// The same with a body that may be no JSON.
    pub async fn send_text(
        &self,
        method: &str,
        path: &str,
        when: When<'_>,
        body: Option<&str>,
    ) -> Response {
        let mut wire = self.connect().await;
        wire.send(self.request(method, path, when, body))
            .await
            .expect("send a request");
        let answer = within("an answer of the API", wire.response(method == "HEAD")).await;
        answer.expect("an answer of the API")
    }

    pub async fn connect(&self) -> Wire<tokio::net::TcpStream> {
        let connecting = tokio::net::TcpStream::connect(self.world.admin);
        let socket = within("connecting to the admin listener", connecting).await;
        Wire::new(socket.expect("the admin listener listens"))
    }

    /// The bytes of a request.
    pub fn request(&self, method: &str, path: &str, when: When<'_>, body: Option<&str>) -> String {
        let mut text = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.world.admin
        );
        let mut field = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
        if let Some(token) = &self.token {
            field("Authorization", &format!("Bearer {token}"));
        }
        match when {
            When::Always => {}
            When::New => field("If-None-Match", "*"),
            When::Any => field("If-Match", "*"),
            When::As(tag) => field("If-Match", tag),
        }
        if let Some(body) = body {
            field("Content-Type", "application/json");
            field("Content-Length", &body.len().to_string());
        }
        text + "\r\n" + body.unwrap_or_default()
    }
}

/// Asserts that an answer has this status, and shows it otherwise.
#[track_caller]
pub fn expect(answer: &Response, status: u16) {
    assert_eq!(answer.status, status, "{answer:#?}\n{}", answer.text());
}

/// Asserts that an answer is a problem with this code.
#[track_caller]
pub fn expect_problem(answer: &Response, code: &str) {
    let media_type = answer.header("content-type").unwrap_or_default();
    assert_eq!(media_type, "application/problem+json", "{answer:#?}");
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], answer.status);
}
