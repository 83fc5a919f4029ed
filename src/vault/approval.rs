//! Uses of a credential that its owner is asked about, and the answers.

use std::fmt::Write as _;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::substitution::slug::Slug;
use crate::vault::name::Principal;
use crate::vault::readable::deceives;

/// Most questions of one client that wait for an answer.
pub const MOST_OPEN: usize = 8;
/// Most questions and answers of a store.
pub const MOST_APPROVALS: usize = 10_000;
/// Longest text of a part of a question, in bytes. All of it comes from the client.
const LONGEST_PART: usize = 512;
/// Longest description of a body, with the fields that are shown.
const LONGEST_BODY: usize = 1024;

/// A use that the owner is asked about, with the answer once there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who owns the credential.
    pub owner: Principal,
    /// Its slug.
    #[serde(with = "crate::vault::slug_text")]
    pub slug: Slug,
    /// What is asked.
    pub question: Question,
    /// When it was asked, unix seconds.
    pub asked: i64,
    /// Until when the question, or a yes for this one request, is kept.
    pub until: i64,
    /// What the owner said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// Who wants to do what. Nothing in it is secret: placeholders are in their places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The client.
    pub client: String,
    /// For whom it acts.
    pub principal: Principal,
    /// What the request is for.
    pub action: String,
    /// Which execution of the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The method.
    pub method: String,
    /// `https://api.example.com:443`.
    pub destination: String,
    /// The path.
    pub path: String,
    /// Where in the request the credential is named.
    pub places: Vec<String>,
    /// The body: its kind and its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A digest of the whole request, in hexadecimal: a yes is for exactly this one.
    pub request: String,
}

impl Question {
    /// The same with no part longer than a person reads, and none that moves a cursor.
    pub fn readable(mut self) -> Self {
        let parts = [
            &mut self.client,
            &mut self.action,
            &mut self.method,
            &mut self.destination,
            &mut self.path,
        ];
        let others = self.run.iter_mut().chain(&mut self.places);
        for part in parts.into_iter().chain(others) {
            *part = readable(part, LONGEST_PART);
        }
        if let Some(body) = &mut self.body {
            *body = readable(body, LONGEST_BODY);
        }
        self
    }
}

/// The digest of a request: each part carries its length, so that no two requests have the same parts
/// with another border between them.
pub fn request_digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn readable(text: &str, longest: usize) -> String {
    let mut short: String = text
        .chars()
        .map(|c| if deceives(c) { '\u{fffd}' } else { c })
        .collect();
    if short.len() > longest {
        let end = (0..=longest).rev().find(|at| short.is_char_boundary(*at));
        short.truncate(end.unwrap_or_default());
        short.push('…');
    }
    short
}

/// What the owner said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What it is.
    pub verdict: Verdict,
    /// Who gave it.
    pub by: String,
    /// When, unix seconds.
    pub at: i64,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes, for exactly this request, once.
    Once,
    /// Yes, for this client, action and destination from now on.
    Always,
    /// No.
    No,
}

impl Verdict {
    /// The name used in commands and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Once => "once",
            Verdict::Always => "always",
            Verdict::No => "no",
        }
    }
}

/// A text that is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer is once, always or no")]
pub struct InvalidVerdict;

impl FromStr for Verdict {
    type Err = InvalidVerdict;

    fn from_str(text: &str) -> Result<Self, InvalidVerdict> {
        let all = [Self::Once, Self::Always, Self::No];
        let found = all.into_iter().find(|verdict| verdict.as_str() == text);
        found.ok_or(InvalidVerdict)
    }
}

/// What is known about a use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Yes, from now on.
    Always,
    /// Yes, for this request, under this id. It is used up by [`Vault::use_approval`](crate::vault::Vault::use_approval).
    Once(String),
    /// No.
    No,
    /// The owner has been asked under this id.
    Waiting(String),
    /// Nothing.
    Nothing,
}

impl Approval {
    /// What the owner said.
    pub fn verdict(&self) -> Option<Verdict> {
        self.answer.as_ref().map(|answer| answer.verdict)
    }

    /// Whether it still means something at `now` (unix seconds).
    pub fn is_kept(&self, now: i64) -> bool {
        self.verdict() == Some(Verdict::Always) || now < self.until
    }

    /// Whether it is about uses like this one: a lasting yes about the same client, action and
    /// destination, anything else about the same request.
    pub fn is_about(&self, question: &Question) -> bool {
        let own = &self.question;
        if self.verdict() == Some(Verdict::Always) {
            return (&own.client, &own.principal, &own.action, &own.destination)
                == (
                    &question.client,
                    &question.principal,
                    &question.action,
                    &question.destination,
                );
        }
        own.request == question.request
    }

    /// When it is to be forgotten.
    pub fn due(&self) -> Option<i64> {
        (self.verdict() != Some(Verdict::Always)).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            client: "ci".into(),
            principal: Principal::parse("alice").unwrap(),
            action: "report".into(),
            run: None,
            method: "GET".into(),
            destination: "https://a.example:443".into(),
            path: "/".into(),
            places: vec!["header:x".into()],
            body: None,
            request: "00".into(),
        }
    }

    fn approval(verdict: Option<Verdict>) -> Approval {
        Approval {
            owner: Principal::parse("alice").unwrap(),
            slug: Slug::parse("key").unwrap(),
            question: question(),
            asked: 0,
            until: 10,
            answer: verdict.map(|verdict| Answer {
                verdict,
                by: "cli:alice".into(),
                at: 1,
            }),
        }
    }

    #[test]
    fn a_yes_is_for_one_request_or_for_an_action_at_a_destination() {
        let other_request = Question {
            request: "01".into(),
            ..question()
        };
        let other_action = Question {
            action: "another".into(),
            ..question()
        };
        for verdict in [None, Some(Verdict::Once), Some(Verdict::No)] {
            let approval = approval(verdict);
            assert!(approval.is_about(&question()) && !approval.is_about(&other_request));
            assert!(approval.is_kept(9) && !approval.is_kept(10));
        }
        let lasting = approval(Some(Verdict::Always));
        assert!(lasting.is_about(&other_request) && !lasting.is_about(&other_action));
        assert!(lasting.is_kept(i64::MAX) && lasting.due().is_none());
    }

    #[test]
    fn a_question_can_be_read() {
        let hostile = Question {
            path: format!("/\x1b[2J{}", "é".repeat(1000)),
            ..question()
        };
        let path = hostile.readable().path;
        assert!(path.len() < 600 && !path.contains('\x1b') && path.ends_with('…'));
    }
}
