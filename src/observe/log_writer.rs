//! Writes log lines to standard error from a thread of its own, so that no request waits for it.
//!
//! A `write` for each line is a system call, and wakes the reader, in the middle of a
//! request. A reader that is slow (a terminal, a full pipe) would stop every connection of the
//! worker that writes. So lines gather, and a thread writes them a few milliseconds later, all at
//! once. Warnings and errors do not wait: they are written, with everything before them, before
//! the program goes on, so that the reason of a crash is not lost.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{mem, thread};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long lines gather.
const GATHER: Duration = Duration::from_millis(10);
/// Most bytes that wait; beyond it lines are dropped, and counted. A reader that has stopped must
/// not stop the proxy.
const MOST: usize = 1024 * 1024;

/// Writes log lines to `W` from a thread of its own. Clones share it.
pub struct LogWriter<W>(Arc<Shared<W>>);

struct Shared<W> {
    gathered: Mutex<Gathered>,
    ready: Condvar,
    /// Locked before `gathered` is emptied and until that is written, so that lines keep their
    /// order.
    out: Mutex<W>,
}

#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    dropped: usize,
    /// The thread waits to be woken.
    parked: bool,
}

impl<W: Write + Send + 'static> LogWriter<W> {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(out: W) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            gathered: Mutex::default(),
            ready: Condvar::new(),
            out: Mutex::new(out),
        });
        let written = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || written.run())?;
        Ok(Self(shared))
    }

    /// Adds a line to what is gathered.
    pub fn add(&self, line: &[u8]) {
        self.0.add(line);
    }

    /// Writes what was gathered. To be called at the end.
    pub fn flush(&self) {
        self.0.write_out();
    }
}

impl<W> Clone for LogWriter<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> Shared<W> {
    fn run(&self) -> ! {
        loop {
            let mut gathered = lock(&self.gathered);
            while gathered.bytes.is_empty() {
                gathered.parked = true;
                let woken = self.ready.wait(gathered);
                gathered = woken.unwrap_or_else(PoisonError::into_inner);
            }
            drop(gathered);
            thread::sleep(GATHER);
            self.write_out();
        }
    }

    fn add(&self, line: &[u8]) {
        let mut gathered = lock(&self.gathered);
        if gathered.bytes.len() + line.len() > MOST {
            gathered.dropped += 1;
            return;
        }
        gathered.bytes.extend_from_slice(line);
        let wakes = mem::take(&mut gathered.parked);
        drop(gathered);
        if wakes {
            self.ready.notify_one();
        }
    }

    fn write_out(&self) {
        let mut out = lock(&self.out);
        let (bytes, dropped) = {
            let mut gathered = lock(&self.gathered);
            (
                mem::take(&mut gathered.bytes),
                mem::take(&mut gathered.dropped),
            )
        };
        // If standard error is closed, there is no place left to report that.
        let _ = out.write_all(&bytes);
        if dropped > 0 {
            let _ = writeln!(
                out,
                "egret: {dropped} log lines were dropped: too many at once"
            );
        }
        let _ = out.flush();
        let mut gathered = lock(&self.gathered);
        if gathered.bytes.is_empty() {
            // The same memory again.
            gathered.bytes = bytes;
            gathered.bytes.clear();
            gathered.bytes.shrink_to(MOST / 16);
        }
    }
}

/// What one event is written to.
pub struct Line<'a, W: Write> {
    shared: &'a Shared<W>,
    is_urgent: bool,
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Line<'_, W> {
    fn drop(&mut self) {
        if self.is_urgent {
            self.shared.write_out();
        }
    }
}

impl<'a, W: Write + 'static> MakeWriter<'a> for LogWriter<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            shared: &self.0,
            is_urgent: true,
        }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        Line {
            shared: &self.0,
            is_urgent: *event.level() <= Level::WARN,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they hold is complete between any two lines.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that can be made to wait.
    #[derive(Clone, Default)]
    struct Reader(Arc<Mutex<Vec<u8>>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Reader {
        fn text(&self) -> String {
            String::from_utf8(lock(&self.0).clone()).unwrap()
        }

        fn wait_for(&self, end: &str) {
            let begun = std::time::Instant::now();
            while !self.text().ends_with(end) {
                assert!(begun.elapsed() < Duration::from_secs(30), "{}", self.text());
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn line(log: &LogWriter<Reader>, is_urgent: bool, text: &str) {
        let shared = &log.0;
        let mut line = Line { shared, is_urgent };
        line.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn lines_are_written_soon_and_in_order() {
        let reader = Reader::default();
        let log = LogWriter::start(reader.clone()).unwrap();
        for n in 0..100 {
            line(&log, false, &format!("{n}\n"));
        }
        reader.wait_for("99\n");
        // Also after a silence.
        line(&log, false, "later\n");
        reader.wait_for("later\n");
        let expected: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(reader.text(), expected + "later\n");
    }

    #[test]
    fn a_warning_is_written_at_once_behind_what_came_before() {
        let reader = Reader::default();
        let log = LogWriter::start(reader.clone()).unwrap();
        for n in 0..50 {
            line(&log, false, "usual\n");
            line(&log, true, "warning\n");
            assert_eq!(reader.text(), "usual\nwarning\n".repeat(n + 1));
        }
    }

    #[test]
    fn a_reader_that_has_stopped_costs_lines_and_not_time() {
        let reader = Reader::default();
        let log = LogWriter::start(reader.clone()).unwrap();
        let stopped = lock(&reader.0);
        let text = format!("{}\n", "x".repeat(999));
        for _ in 0..5_000 {
            line(&log, false, &text);
        }
        drop(stopped);
        log.flush();
        line(&log, true, "end\n");
        let read = reader.text();
        assert!(read.len() < 3 * MOST, "{}", read.len());
        assert!(read.contains("log lines were dropped"));
        assert!(read.ends_with("end\n"));
    }
}
