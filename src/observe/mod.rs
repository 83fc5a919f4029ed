//! What the process says about itself, and what it keeps to itself.
//!
//! Logs are structured and carry names, never values: a URL appears as scheme, host and path with
//! its placeholders in place. Three things could break that from outside our own code, and are
//! closed here: other crates' trace output (HTTP libraries log what they parse), panic messages
//! (slicing a string quotes it), and core dumps. Behind all of that stands a filter that takes live
//! values out of each line ([`redact`]).

pub mod access;
pub mod line;
pub mod lines;
pub mod memory;
pub mod redact;

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Stderr};

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask,
};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{Log, LogFormat};
use line::PlainLine;
use lines::Lines;
use redact::Redacting;

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` is no filter.
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// The thread that writes it cannot be started.
    #[error("the log cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// The process has a log already.
    #[error(transparent)]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// The running log; what still waits is written when this is dropped.
pub struct Logging(Lines<Redacting<Stderr>>);

impl Logging {
    /// Writes what waits, before something else is written to standard error.
    pub fn flush(&self) {
        self.0.flush();
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Starts logging to standard error.
pub fn init(log: &Log) -> Result<Logging, LogError> {
    let filter = filter(&log.level)?;
    let lines = Lines::start(redact::stderr())?;
    let is_plain = log.format == LogFormat::Text && !std::io::stderr().is_terminal();
    let layer = match log.format {
        LogFormat::Text if is_plain => fmt::layer()
            .event_format(PlainLine::default())
            .fmt_fields(debug_fn(line::plain_field).delimited(" "))
            .with_writer(lines.clone())
            .with_ansi(false)
            .boxed(),
        LogFormat::Text => fmt::layer().with_writer(lines.clone()).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(lines.clone())
            .boxed(),
    };
    let shows_requests = filter.would_enable(access::TARGET, &Level::INFO);
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()?;
    if is_plain && shows_requests {
        access::write_to(lines.clone());
    }
    Ok(Logging(lines))
}

/// The user's level holds for Egret. Other crates say no more than warnings whatever it is: at
/// trace level an HTTP library writes out what it sends, and that holds the values.
fn filter(level: &str) -> Result<Targets, tracing_subscriber::filter::ParseError> {
    let asked: Targets = level.parse()?;
    let own = asked.default_level().unwrap_or(LevelFilter::INFO);
    let mut filter = Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("egret", own);
    for (target, level) in &asked {
        if target == "egret" || target.starts_with("egret::") {
            filter = filter.with_target(target, level);
        }
    }
    Ok(filter)
}

/// Closes the process's memory and files to others: no core dump, no `ptrace` by the same user, and
/// files that nobody else can read unless a mode says so. Also silences panic messages down to
/// their place. Called once, before anything secret is read.
pub fn seal_process() {
    umask(Mode::RWXG | Mode::RWXO);
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // It can only fail on a kernel that does not know it; there is nothing to fall back to.
    let _ = setrlimit(Resource::Core, nothing);
    seal_memory();
}

/// The part of [`seal_process`] that a program started from this process does not inherit.
pub fn seal_memory() {
    // As above.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    std::panic::set_hook(Box::new(|panic| {
        // The message is left out: it may quote the text that was being handled.
        let mut place = String::new();
        if let Some(location) = panic.location() {
            let _ = write!(place, "{}:{}", location.file(), location.line());
        }
        tracing::error!(place, "internal error: a task panicked");
        if !tracing::enabled!(tracing::Level::ERROR) {
            eprintln!(
                "{}",
                redact::redact(&format!("egret: internal error at {place}"))
            );
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::Level;

    use super::*;
    use crate::scrub::Needles;
    use crate::secret::SecretBytes;

    #[test]
    fn the_level_opens_egret_and_no_other_crate() {
        let filter = filter("trace,hyper=trace,egret::proxy=debug").unwrap();
        assert!(filter.would_enable("egret::vault", &Level::TRACE));
        assert!(filter.would_enable("egret::proxy::inbound::http1", &Level::DEBUG));
        assert!(!filter.would_enable("egret::proxy::inbound::http1", &Level::TRACE));
        for other in ["hyper", "h2::codec", "rustls", "sqlx::query"] {
            assert!(!filter.would_enable(other, &Level::INFO), "{other}");
            assert!(filter.would_enable(other, &Level::WARN), "{other}");
        }
    }

    const VALUE: &str = "canary/that+is=everywhere";

    /// What a process prints in which everything goes wrong at once.
    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    fn child_panics_with_a_value() {
        seal_process();
        let log = Log {
            format: LogFormat::Text,
            level: "trace".to_owned(),
        };
        init(&log).unwrap();
        let value = Arc::new(SecretBytes::new(VALUE.as_bytes().to_vec()));
        redact::know_all(1, Arc::new(Needles::new([("pat".to_owned(), value)])));
        tracing::error!(value = VALUE, text = ?VALUE, "quotes {VALUE}");
        tracing::trace!(target: "egret::proxy", "%63anary%2Fthat%2Bis%3Deverywhere");
        tracing::warn!(target: "hyper::proto", "parsing {}", VALUE.as_bytes().escape_ascii());
        let _ = std::thread::spawn(|| panic!("quotes {VALUE}")).join();
        panic!("{}", VALUE);
    }

    #[test]
    fn neither_a_log_line_nor_a_panic_quotes_a_value() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "observe::tests::child_panics_with_a_value"])
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .env("RUST_BACKTRACE", "full")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(printed.contains("quotes <<pat>>"), "{printed}");
        assert!(printed.contains("a task panicked"), "{printed}");
        assert!(printed.contains("observe/mod.rs"), "its place: {printed}");
        assert!(!printed.contains("canary"), "{printed}");
        assert!(!printed.contains("anary%2F"), "{printed}");
        assert!(printed.matches("<<pat>>").count() >= 5, "{printed}");
    }

    #[test]
    fn a_quieter_level_holds_for_all() {
        let filter = filter("error").unwrap();
        assert!(!filter.would_enable("egret", &Level::WARN));
        assert!(!filter.would_enable("hyper", &Level::WARN));
    }
}
