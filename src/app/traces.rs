//! Sends spans to a collector, by OTLP over HTTP in JSON.
//!
//! They are about what goes on, and no record: what a collector does not take in time is dropped, and no
//! request waits.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bytes::Bytes;
use http::{Uri, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use crate::config::Config;
use crate::observe::traces::{self, Span};
use crate::proxy::outbound::way::Way;
use crate::tls;

/// Spans in a request, and how long one waits for others.
const BATCH: usize = 512;
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is said that it takes nothing.
const REMINDER: Duration = Duration::from_secs(60);

/// Starts it, if the configuration names a collector, until `stop` is cancelled.
///
/// # Errors
/// When the roots cannot be read, or no thread can be started.
pub(super) fn start(config: &Config, way: Way, stop: CancellationToken) -> Result<()> {
    let Some(url) = &config.traces else {
        return Ok(());
    };
    let exporter = Exporter {
        endpoint: Endpoint {
            url: collector(url)?,
            tls: tls::client::config(&config.upstream.ca_files)?,
            way,
        },
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        complained: None,
    };
    // A second server in one process shares the first one's.
    let Some(spans) = traces::collect() else {
        return Ok(());
    };
    thread::Builder::new()
        .name("egret-traces".to_owned())
        .spawn(move || exporter.run(&spans, &stop))?;
    Ok(())
}

/// The path is that of OTLP, unless another one is given.
fn collector(url: &Uri) -> Result<Uri> {
    if !matches!(url.path(), "" | "/") {
        return Ok(url.clone());
    }
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some("/v1/traces".parse()?);
    Ok(Uri::from_parts(parts)?)
}

struct Exporter {
    endpoint: Endpoint,
    runtime: Runtime,
    /// When it was said last that the collector takes nothing.
    complained: Option<Instant>,
}

impl Exporter {
    fn run(mut self, spans: &Receiver<Span>, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let batch = match spans.recv_timeout(GATHER) {
                Ok(first) => gather(first, spans),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.send(&batch);
        }
    }

    fn send(&mut self, batch: &[Span]) {
        let body = Full::new(Bytes::from(request(batch).to_string()));
        let post = self
            .endpoint
            .post()
            .header(header::CONTENT_TYPE, "application/json");
        let Ok(post) = post.body(body) else {
            return;
        };
        let sending = async { timeout(PATIENCE, self.endpoint.send(post)).await };
        let reason = match self.runtime.block_on(sending) {
            Ok(Ok(status)) if status.is_success() => return,
            Ok(Ok(status)) => format!("it answered {}", status.as_u16()),
            Ok(Err(error)) => format!("it cannot be reached: {}", error.kind()),
            Err(_) => "it does not answer".to_owned(),
        };
        if self.complained.is_none_or(|at| at.elapsed() > REMINDER) {
            self.complained = Some(Instant::now());
            tracing::warn!(
                reason,
                spans = batch.len(),
                "the collector of traces takes no spans; they are dropped"
            );
        }
    }
}

/// Those that come within a moment, up to a batch.
fn gather(first: Span, spans: &Receiver<Span>) -> Vec<Span> {
    let until = Instant::now() + GATHER;
    let mut batch = vec![first];
    while batch.len() < BATCH {
        let left = until.saturating_duration_since(Instant::now());
        match spans.recv_timeout(left) {
            Ok(span) => batch.push(span),
            Err(_) => break,
        }
    }
    batch
}

/// An `ExportTraceServiceRequest` (opentelemetry-proto) as JSON.
fn request(spans: &[Span]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [
        text("service.name", "egret"),
        text("service.version", version),
    ];
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{
            "scope": {"name": "egret", "version": version},
            "spans": spans,
        }],
    }]})
}

fn span(span: &Span) -> Value {
    let mut attributes: Vec<Value> = span
        .attributes
        .iter()
        .map(|(name, value)| text(name, value))
        .collect();
    attributes.push(text("http.request.method", &span.method));
    if let Some(status) = span.status {
        let status = status.to_string();
        attributes.push(json!({
            "key": "http.response.status_code",
            // 64-bit integers are texts in the JSON of protobuf.
            "value": {"intValue": status},
        }));
    }
    attributes.extend(span.code.map(|code| text("error.type", code)));
    let mut value = json!({
        "traceId": digits(&span.trace),
        "spanId": digits(&span.id),
        "name": span.method,
        // A client of the destination.
        "kind": 3,
        "startTimeUnixNano": nanos(span.begun),
        "endTimeUnixNano": nanos(span.ended),
        "attributes": attributes,
    });
    if let Some(parent) = &span.parent {
        value["parentSpanId"] = digits(parent).into();
    }
    if span.code.is_some() {
        value["status"] = json!({"code": 2});
    }
    value
}

fn text(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nanos(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}
