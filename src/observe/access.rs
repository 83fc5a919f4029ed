//! The line that every request leaves in the log, written without the library: on its way through
//! that, each word costs a formatter, and the line as much as the rest of a request's bookkeeping.
//! Where the log is not plain text the library writes it.

use std::cell::RefCell;
use std::io::Stderr;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::line::write_time;
use super::lines::Lines;
use super::redact::Redacting;

/// What such lines are filtered by.
pub(super) const TARGET: &str = "egret::proxy::inbound::http1";
/// Room for a line of the usual length, in bytes.
const USUAL: usize = 512;

static PLAIN: OnceLock<Lines<Redacting<Stderr>>> = OnceLock::new();

thread_local! {
    /// The same memory for each line.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on such lines go straight to `lines`.
pub(super) fn write_to(lines: Lines<Redacting<Stderr>>) {
    // There is one log in a process.
    let _ = PLAIN.set(lines);
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
}

impl Forwarded<'_> {
    /// Writes the line.
    pub fn log(&self) {
        let Some(lines) = PLAIN.get() else {
            return self.event();
        };
        LINE.with_borrow_mut(|line| {
            line.clear();
            line.shrink_to(USUAL);
            self.write(line, SystemTime::now());
            lines.add(line.as_bytes());
        });
    }

    /// The same by way of the library.
    fn event(&self) {
        let Self {
            request,
            client,
            action,
            method,
            destination,
            path,
            status,
        } = self;
        tracing::info!(
            target: TARGET, %request, %client, %action, %method, %destination, %path, status,
            "forwarded"
        );
    }

    /// The line as [`super::line::PlainLine`] writes that event.
    fn write(&self, line: &mut String, time: SystemTime) {
        // Nothing that is written to a string fails.
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
        line.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;
    use tracing_subscriber::field::MakeExt as _;
    use tracing_subscriber::fmt::format::debug_fn;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::line::tests::Out;
    use super::super::line::{PlainLine, plain_field};
    use super::*;

    proptest! {
        #[test]
        fn the_line_is_the_one_of_the_library(
            texts in prop::collection::vec("[ -~é€]{0,40}", 6),
            status in 100..1000_u16,
        ) {
            let [request, client, action, method, destination, path] =
                [0, 1, 2, 3, 4, 5].map(|at: usize| texts[at].as_str());
            let forwarded =
                Forwarded { request, client, action, method, destination, path, status };
            let theirs = Out::default();
            let layer = tracing_subscriber::fmt::layer()
                .fmt_fields(debug_fn(plain_field).delimited(" "))
                .event_format(PlainLine::default())
                .with_ansi(false)
                .with_writer(theirs.clone());
            let library = tracing_subscriber::registry().with(layer);
            tracing::subscriber::with_default(library, || forwarded.event());
            let mut ours = String::new();
            forwarded.write(&mut ours, UNIX_EPOCH);
            prop_assert_eq!(vec![ours[27..].to_owned()], theirs.lines());
        }
    }
}
