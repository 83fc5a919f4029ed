//! A log line as text that nobody reads in colour: the words of the library's own format, without
//! its detours. There is one for every request, and the library spends on it what a request costs
//! in all other bookkeeping: a formatter and a colour for each word.

use std::cell::Cell;
use std::fmt::{self, Debug};
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Records of the `log` crate have their place and their target among their fields.
const BRIDGED: &str = "log";

/// `2026-11-22T09:30:00.000001Z  INFO egret::proxy::inbound::http1: forwarded status=200`
#[derive(Default)]
pub struct PlainLine {
    /// For what is rare: an event inside a span, which Egret has none of, or of the `log` crate.
    library: Format,
}

impl<S, N> FormatEvent<S, N> for PlainLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let target = event.metadata().target();
        if target == BRIDGED || context.event_scope().is_some() {
            return self.library.format_event(context, line, event);
        }
        write_time(&mut line, SystemTime::now())?;
        line.write_str(match *event.metadata().level() {
            Level::TRACE => " TRACE ",
            Level::DEBUG => " DEBUG ",
            Level::INFO => "  INFO ",
            Level::WARN => "  WARN ",
            Level::ERROR => " ERROR ",
        })?;
        line.write_str(target)?;
        line.write_char(':')?;
        let mut fields = Fields {
            line,
            written: Ok(()),
        };
        event.record(&mut fields);
        fields.written?;
        fields.line.write_char('\n')
    }
}

/// Writes a field as the library does without colour, the message without its name.
pub fn plain_field(line: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() != "message" {
        line.write_str(field.name())?;
        line.write_char('=')?;
    }
    write!(line, "{value:?}")
}

/// Writes each field behind a space.
struct Fields<'a> {
    line: Writer<'a>,
    written: fmt::Result,
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.written.is_ok() {
            let space = self.line.write_char(' ');
            self.written = space.and_then(|()| plain_field(&mut self.line, field, value));
        }
    }
}

thread_local! {
    /// A second since 1970 and its text: hundreds of lines have it in common.
    static SECOND: Cell<(u64, [u8; 20])> = const { Cell::new((0, *b"1970-01-01T00:00:00.")) };
}

/// Writes a time in UTC with microseconds, RFC 3339.
pub(super) fn write_time(line: &mut impl fmt::Write, time: SystemTime) -> fmt::Result {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut second, mut text) = SECOND.get();
    if second != since_epoch.as_secs() {
        second = since_epoch.as_secs();
        text = second_text(second);
        SECOND.set((second, text));
    }
    let mut whole = *b"0000-00-00T00:00:00.000000Z";
    whole[..text.len()].copy_from_slice(&text);
    let mut micros = since_epoch.subsec_micros();
    for digit in whole[text.len()..26].iter_mut().rev() {
        *digit = b'0' + (micros % 10) as u8;
        micros /= 10;
    }
    line.write_str(str::from_utf8(&whole).map_err(|_| fmt::Error)?)
}

fn second_text(second: u64) -> [u8; 20] {
    let time = i64::try_from(second)
        .ok()
        .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let month = u8::from(month);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.");
    // A year has four digits: later ones are none that `time` knows.
    text.as_bytes()
        .try_into()
        .unwrap_or(*b"9999-12-31T23:59:59.")
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::field::MakeExt as _;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::fmt::format::debug_fn;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    pub(in crate::observe) struct Out(Arc<Mutex<Vec<String>>>);

    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let line = String::from_utf8(bytes.to_vec()).unwrap();
            self.0.lock().unwrap().push(line);
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

    impl Out {
        /// Its lines, each handed over as a whole, without their times, which are looked at.
        pub(in crate::observe) fn lines(&self) -> Vec<String> {
            let line = |line: &String| {
                let (time, rest) = line.split_at(27);
                assert!(OffsetDateTime::parse(time, &Rfc3339).is_ok(), "{line}");
                assert!(time.ends_with('Z'), "{line}");
                rest.to_owned()
            };
            self.0.lock().unwrap().iter().map(line).collect()
        }
    }

    fn events(text: &str) {
        tracing::info!(request = %text, status = 200_u16, quoted = text, "forwarded");
        tracing::warn!(target: "hyper::proto", ?text, took = 1.5, ok = true, none = None::<u8>);
        tracing::error!(count = -3_i64, big = u128::MAX, "{text} went wrong");
        tracing::debug!(
            error = &io::Error::other("no") as &dyn std::error::Error,
            "x"
        );
        tracing::trace!("{}", 7);
        tracing::info_span!("span", of = text).in_scope(|| tracing::info!(inside = 1, "y"));
        tracing::info!(target: "log", place = "other", "bridged");
    }

    #[test]
    fn lines_are_those_of_the_library() {
        let (ours, theirs) = (Out::default(), Out::default());
        let library = || {
            tracing_subscriber::fmt::layer()
                .fmt_fields(debug_fn(plain_field).delimited(" "))
                .with_ansi(false)
        };
        let ours_too = library().event_format(PlainLine::default());
        let both = tracing_subscriber::registry().with(vec![
            library().with_writer(theirs.clone()).boxed(),
            ours_too.with_writer(ours.clone()).boxed(),
        ]);
        tracing::subscriber::with_default(both, || {
            events("/a b");
            events("quo\"tes \n and \u{1b}[2J é");
        });
        assert_eq!(ours.lines(), theirs.lines());
        assert!(ours.lines().len() >= 14);
    }

    proptest! {
        #[test]
        fn times_are_rfc_3339_with_six_digits(micros in 0..253_402_300_800_000_000_u64) {
            for micros in [micros, micros, micros + 1] {
                let mut text = String::new();
                write_time(&mut text, UNIX_EPOCH + Duration::from_micros(micros)).unwrap();
                prop_assert_eq!(text.len(), 27);
                let read = OffsetDateTime::parse(&text, &Rfc3339).unwrap();
                prop_assert_eq!(read.unix_timestamp_nanos() / 1000, i128::from(micros));
            }
        }
    }

    #[test]
    fn a_clock_gone_wrong_still_has_a_text() {
        let mut text = String::new();
        let time = UNIX_EPOCH + Duration::from_secs(1 << 50);
        write_time(&mut text, time).unwrap();
        assert_eq!(text.len(), 27);
    }
}
