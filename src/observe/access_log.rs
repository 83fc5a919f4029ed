//! The access log: the line that every forwarded request leaves in the log.
//!
//! It is written here and not by `tracing_subscriber`, and it waits in [`super::log_writer`] and
//! not in `tracing_appender`, because it is on the path of every request. Counted with callgrind for a line
//! of usual length: 920 instructions here; 11,500 with the formatter of `tracing_subscriber`, which
//! formats and colours word by word; 12,200 with `tracing_appender`'s `non_blocking` as well, which
//! also allocates for each line and makes a system call for each. A request takes some 200,000 in
//! all. A log in colour or in JSON, which no one uses under load, is left to the libraries, and so
//! are all other lines.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Stderr;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::log_writer::LogWriter;
use super::redact::Redacting;
use super::timestamp::write_time;
use super::traces::TraceId;

/// The target of such lines, for filters: the module whose refusals are logged too.
pub(super) const TARGET: &str = "egret::proxy::inbound::requests";
/// Room for a line of the usual length, in bytes.
const USUAL: usize = 512;

static PLAIN: OnceLock<LogWriter<Redacting<Stderr>>> = OnceLock::new();

thread_local! {
    /// The same memory for each line.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on such lines go straight to `log`.
pub(super) fn write_to(log: LogWriter<Redacting<Stderr>>) {
    // There is one log in a process.
    let _ = PLAIN.set(log);
}

/// An upstream's answer that is passed on.
#[derive(Debug)]
pub struct Forwarded<'a> {
    /// The request's id.
    pub request: &'a str,
    /// Who asked.
    pub client: &'a str,
    /// What for.
    pub action: &'a str,
    /// The method as sent.
    pub method: &'a str,
    /// `https://host:port`.
    pub destination: &'a str,
    /// The path with placeholders in place and without a query.
    pub path: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// The trace that the request belongs to, where traces are collected.
    pub trace: Option<TraceId>,
}

impl Forwarded<'_> {
    /// Writes the line.
    pub fn log(&self) {
        let Some(log) = PLAIN.get() else {
            return self.event();
        };
        LINE.with_borrow_mut(|line| {
            line.clear();
            line.shrink_to(USUAL);
            self.write(line, SystemTime::now());
            log.add(line.as_bytes());
        });
    }

    /// The same line as an event, for logs that are not plain text.
    fn event(&self) {
        let Self {
            request,
            client,
            action,
            method,
            destination,
            path,
            status,
            trace,
        } = self;
        let trace = trace.map(tracing::field::display);
        tracing::info!(
            target: TARGET, %request, %client, %action, %method, %destination, %path, status, trace,
            "forwarded"
        );
    }

    /// The line as `tracing_subscriber` writes that event without colour.
    fn write(&self, line: &mut String, time: SystemTime) {
        // Writing to a string does not fail.
        let _ = write_time(line, time);
        for text in [
            "  INFO ",
            TARGET,
            ": forwarded request=",
            self.request,
            " client=",
            self.client,
            " action=",
            self.action,
            " method=",
            self.method,
            " destination=",
            self.destination,
            " path=",
            self.path,
            " status=",
        ] {
            line.push_str(text);
        }
        // A status has three digits (RFC 9110 section 15).
        for unit in [100, 10, 1] {
            line.push(char::from(b'0' + (self.status / unit % 10) as u8));
        }
        if let Some(trace) = self.trace {
            let _ = write!(line, " trace={trace}");
        }
        line.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Out {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// Their length is fixed.
    const TIME: usize = "1970-01-01T00:00:00.000000Z".len();

    proptest! {
        #[test]
        fn the_line_is_the_one_of_the_library(
            texts in prop::collection::vec("[ -~é€]{0,40}", 6),
            status in 100..1000_u16,
            trace in any::<Option<[u8; 16]>>(),
        ) {
            let [request, client, action, method, destination, path] =
                [0, 1, 2, 3, 4, 5].map(|at: usize| texts[at].as_str());
            let forwarded =
                Forwarded {
                    request, client, action, method, destination, path, status,
                    trace: trace.map(TraceId),
                };
            let out = Out::default();
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(out.clone());
            let library = tracing_subscriber::registry().with(layer);
            tracing::subscriber::with_default(library, || forwarded.event());
            let theirs = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
            let mut ours = String::new();
            forwarded.write(&mut ours, UNIX_EPOCH);
            prop_assert_eq!(&ours[TIME..], &theirs[TIME..]);
        }
    }
}
