//! Setting up the log.

use std::io::{IsTerminal as _, Stderr};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::access_log;
use super::log_writer::LogWriter;
use super::redact::{self, Redacting};
use crate::config::{Log, LogFormat};

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
pub struct Logging(LogWriter<Redacting<Stderr>>);

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
    let writer = LogWriter::start(redact::stderr())?;
    let is_plain = log.format == LogFormat::Text && !std::io::stderr().is_terminal();
    let layer = match log.format {
        LogFormat::Text if is_plain => fmt::layer()
            .with_ansi(false)
            .with_writer(writer.clone())
            .boxed(),
        // In colour, unless NO_COLOR is set.
        LogFormat::Text => fmt::layer().with_writer(writer.clone()).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(writer.clone())
            .boxed(),
    };
    let shows_requests = filter.would_enable(access_log::TARGET, &Level::INFO);
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()?;
    if is_plain && shows_requests {
        access_log::write_to(writer.clone());
    }
    Ok(Logging(writer))
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_quieter_level_holds_for_all() {
        let filter = filter("error").unwrap();
        assert!(!filter.would_enable("egret", &Level::WARN));
        assert!(!filter.would_enable("hyper", &Level::WARN));
    }
}
