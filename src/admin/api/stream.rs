//! The ledger as it grows, as server-sent events. A stream ends with what it was opened with: the
//! session or the token.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::channel::{Channel, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::asked::Asked;
use super::ledger::LineSearch;
use super::request::Search;
use crate::admin::caller::Caller;
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::ledger::RecordRef;
use crate::ledger::reader::Follower;
use crate::ledger::window::Window;
use crate::vault::access::Scope;

/// How often the ledger is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// How often a silent stream says something, so that reverse proxies keep it, and how often it is
/// asked whether the caller may still see it.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Longest time for handing an event to a client that does not read.
const STALLED: Duration = Duration::from_secs(30);
/// Events that wait for a client.
const WAITING: usize = 64;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(follow_ledger))
}

/// Follow the ledger
///
/// Server-sent events: the `id` is the number of the line, the data the line. It begins with the next
/// line, or after `Last-Event-ID`. A user may have four streams.
#[utoipa::path(get, path = "/ledger/stream", tag = "usage", params(LineSearch),
    responses((status = OK, body = String, content_type = "text/event-stream")))]
async fn follow_ledger(
    asked: Asked,
    State(context): State<AdminContext>,
    headers: HeaderMap,
    Search(search): Search<LineSearch>,
) -> Result<Response, AdminProblem> {
    asked.caller.demand(Scope::Audit)?;
    let window = search.window(&asked)?;
    let place = context.services().streams.take(&asked.caller.user);
    let place = place.ok_or_else(|| {
        AdminProblem::because(Trouble::TooMany, "A user may have four streams at once.")
            .retry_after(10)
    })?;
    let (sender, body) = Channel::new(WAITING);
    let stream = Stream {
        path: context.services().current_ledger(),
        last: last_event(&headers),
        caller: asked.caller,
        context,
        window,
        sender,
    };
    tokio::spawn(async move {
        stream.run().await;
        drop(place);
    });
    Ok(event_stream(Body::new(body)))
}

fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, media_type);
    // nginx and others would hold events back until they have a bufferful.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    headers.insert(unbuffered, HeaderValue::from_static("no"));
    response
}

fn last_event(headers: &HeaderMap) -> Option<u64> {
    let id = headers.get(HeaderName::from_static("last-event-id"))?;
    id.to_str().ok()?.parse().ok()
}

struct Stream {
    path: PathBuf,
    last: Option<u64>,
    caller: Caller,
    context: AdminContext,
    window: Window,
    sender: Sender<Bytes, Infallible>,
}

impl Stream {
    async fn run(mut self) {
        let state = Arc::clone(self.context.state());
        tokio::select! {
            _ = self.follow() => {}
            () = state.draining.cancelled() => {}
            () = state.followed.cancelled() => {}
        }
    }

    async fn follow(&mut self) -> Option<()> {
        let mut follower = match self.last {
            Some(_) => Follower::from_start(&self.path),
            None => Follower::from_end(&self.path).ok()?,
        };
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        self.send(": the ledger\n\n".to_owned()).await?;
        loop {
            ticks.tick().await;
            let polled = tokio::task::spawn_blocking(move || {
                let lines = follower.poll();
                (follower, lines)
            });
            let lines;
            (follower, lines) = polled.await.ok()?;
            let mut news = String::new();
            for line in lines.into_iter().flatten() {
                news.push_str(&self.event(&line.text, line.record.seq).unwrap_or_default());
            }
            let is_time = heard.elapsed() >= HEARTBEAT;
            if (is_time || !news.is_empty()) && !self.caller.is_still_known(&self.context).await {
                return None;
            }
            if is_time && news.is_empty() {
                news.push_str(":\n\n");
            }
            if !news.is_empty() {
                heard = Instant::now();
                self.send(news).await?;
            }
        }
    }

    /// The event of a line that is wanted.
    fn event(&self, line: &str, seq: u64) -> Option<String> {
        if self.last.is_some_and(|last| seq <= last) {
            return None;
        }
        let record = RecordRef::parse(line.as_bytes()).ok()?;
        let wanted = self.window.wants(&record);
        wanted.then(|| format!("id: {seq}\ndata: {line}\n\n"))
    }

    async fn send(&mut self, text: String) -> Option<()> {
        let sent = self.sender.send_data(text.into());
        tokio::time::timeout(STALLED, sent).await.ok()?.ok()
    }
}
