//! What stands between a permitted use and its value: the owner's yes, and a budget.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;

use crate::changes::Changes;
use crate::clock::unix_seconds;
use crate::error::{Code, Refusal};
use crate::ledger::Ledger;
use crate::policy::location::Location;
use crate::policy::use_limits::Approve;
use crate::proxy::exchange::request_context::{RequestContext, shown_locations};
use crate::proxy::exchange::shown_fields;
use crate::proxy::runtime::budget::Budgets;
use crate::vault::approval::{Approval, Question, Said, request_digest};
use crate::vault::{Credential, StoreError, Vault};

/// How often a request that waits looks for the answer.
const POLL: Duration = Duration::from_millis(200);

/// What every use with a condition passes.
pub struct UseGate {
    /// What credentials and clients have left of their rates.
    pub budgets: Budgets,
    changes: Changes,
    /// How long a request waits for an answer, in milliseconds.
    wait: AtomicU64,
    /// How long questions and answers are kept, in seconds.
    keep: AtomicU64,
}

/// The request that a use is part of.
#[derive(Clone, Copy)]
pub enum Whole<'a> {
    /// All of it is here.
    Here {
        /// Its head.
        head: &'a Parts,
        /// Its body, out of its coding.
        body: &'a Bytes,
        /// Fields of the body that the owner is to see.
        fields: &'a [String],
    },
    /// Its body is on the way, or too large to be shown.
    Partly,
}

/// A use that an owner may want to be asked about.
pub struct Intended<'a> {
    /// What is known about the request.
    pub context: &'a RequestContext,
    /// What is to be used.
    pub credential: &'a Credential,
    /// Where.
    pub places: Vec<&'a Location>,
    /// The request.
    pub whole: Whole<'a>,
}

impl UseGate {
    /// A gate that follows answers by `changes`.
    pub fn new(changes: Changes) -> Self {
        Self {
            budgets: Budgets::default(),
            changes,
            wait: AtomicU64::new(0),
            keep: AtomicU64::new(0),
        }
    }

    /// Puts the times of a configuration in force.
    pub fn set_times(&self, wait: Duration, keep: Duration) {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.wait.store(wait, Ordering::Relaxed);
        self.keep.store(keep.as_secs(), Ordering::Relaxed);
    }

    /// Waits until the owner has said yes.
    ///
    /// # Errors
    /// When the owner said no, or nothing in time.
    pub async fn approve(
        &self,
        intended: &Intended<'_>,
        mode: Approve,
        vault: &Vault,
        ledger: &Ledger,
    ) -> Result<(), Refusal> {
        let question = intended.question();
        let credential = intended.credential;
        let wait = Duration::from_millis(self.wait.load(Ordering::Relaxed));
        let started = Instant::now();
        let mut asked = false;
        loop {
            match vault.said(credential, &question, unix_seconds()) {
                Said::Always => return Ok(()),
                Said::No => return Err(refused("its owner said no to this request")),
                Said::Once(id) if intended.is_whole() => {
                    // Of two requests that are the same only one gets it.
                    let used = vault.use_approval(&id, &question.client).await;
                    if used.map_err(unavailable)? {
                        // The answer is on record before the use is.
                        return self.changes.follow(vault, ledger).await;
                    }
                }
                Said::Once(_) | Said::Waiting(_) if asked => {}
                Said::Waiting(_) => asked = true,
                _ if !intended.is_whole() => return Err(refused(IN_PART)),
                _ => {
                    let id = format!("{}-{}", intended.context.id, credential.slug);
                    let approval = self.approval(credential, question.clone());
                    vault.ask(&id, &approval).await.map_err(unavailable)?;
                    asked = true;
                }
            }
            self.changes.follow(vault, ledger).await?;
            if started.elapsed() >= wait {
                return Err(refused(match mode {
                    Approve::FirstUse => UNANSWERED_FIRST,
                    Approve::Always => UNANSWERED,
                }));
            }
            tokio::time::sleep(POLL.min(wait)).await;
        }
    }

    fn approval(&self, credential: &Credential, question: Question) -> Approval {
        let now = unix_seconds();
        let keep = self.keep.load(Ordering::Relaxed);
        Approval {
            owner: credential.owner.clone(),
            slug: credential.slug.clone(),
            question: question.readable(),
            asked: now,
            until: now.saturating_add(i64::try_from(keep).unwrap_or(i64::MAX)),
            answer: None,
        }
    }
}

const UNANSWERED: &str = "its owner is asked about each use, and has not answered yet; `egret approvals` shows the question. \
     After a yes the same request gets through when it is sent again";
const UNANSWERED_FIRST: &str = "its owner is asked before this action uses it here for the first time, and has not answered yet; \
     `egret approvals` shows the question. After a yes the same request gets through when it is sent \
     again";
const IN_PART: &str = "its owner is asked about each use, and cannot be shown a request whose body is larger than \
     body.buffer or streams; send it with a smaller body, or let the owner permit this action here for \
     all times";

fn refused(why: &'static str) -> Refusal {
    Refusal::new(Code::ApprovalRequired, why)
}

fn unavailable(error: StoreError) -> Refusal {
    match error {
        StoreError::Invalid(_) => refused(
            "its owner is asked about each use, and too many questions of this client wait for an \
             answer already",
        ),
        _ => {
            tracing::error!(%error, "a question to an owner could not be kept");
            Refusal::new(
                Code::StoreUnavailable,
                "the owner cannot be asked, because the store cannot be written",
            )
        }
    }
}

impl Intended<'_> {
    fn is_whole(&self) -> bool {
        matches!(self.whole, Whole::Here { .. })
    }

    /// What the owner is asked. A yes for one request is for its method, target, kind of body, body
    /// and places.
    fn question(&self) -> Question {
        let context = self.context;
        let caller = &context.caller;
        let places = shown_locations(self.places.iter().copied());
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        let (body, request) = match self.whole {
            Whole::Here { head, body, fields } => {
                let described = describe(head, body, fields);
                (described, self.digest(head, body, &places))
            }
            Whole::Partly => (None, String::new()),
        };
        Question {
            client: caller.client.to_string(),
            principal: caller.principal.clone(),
            action: caller.action.to_string(),
            run: caller.run.as_deref().map(str::to_owned),
            method: context.method.to_string(),
            destination: context.origin.to_string(),
            path: context.path.to_string(),
            places,
            body,
            request,
        }
    }

    fn digest(&self, head: &Parts, body: &Bytes, places: &[String]) -> String {
        let caller = &self.context.caller;
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        let kind = head.headers.get(header::CONTENT_TYPE);
        let fixed = [
            caller.client.as_bytes(),
            caller.principal.as_str().as_bytes(),
            caller.action.as_bytes(),
            self.credential.owner.as_str().as_bytes(),
            self.credential.slug.as_str().as_bytes(),
            self.context.method.as_str().as_bytes(),
            self.context.origin.as_bytes(),
            target.as_bytes(),
            kind.map_or(&b""[..], |kind| kind.as_bytes()),
            body,
        ];
        let places = places.iter().map(|place| place.as_bytes());
        request_digest(fixed.into_iter().chain(places))
    }
}

/// The kind and length of a body, and the fields of it that are shown.
fn describe(head: &Parts, body: &Bytes, fields: &[String]) -> Option<String> {
    if body.is_empty() {
        return None;
    }
    let kind = head.headers.get(header::CONTENT_TYPE);
    let shown = shown_fields::shown(kind.map(HeaderValue::as_bytes), body, fields);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("no type");
    Some(format!("{kind}, {} bytes{shown}", body.len()))
}
