//! `egret ledger tail`: the usage record, printed and followed.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::describe::describe;
use super::elsewhere::Elsewhere;
use super::filters::Filters;
use super::print::Printer;
use crate::cli::output::{self, Style};
use crate::cli::remote::Remote;
use crate::ledger::history::{History, Part};
use crate::ledger::lines::{Next, RawLines};
use crate::ledger::reader::{FileLines, Filter, Follower, Line, ReadError};
use crate::ledger::{CURRENT, RecordRef};

/// How often a followed ledger is read.
const POLL: Duration = Duration::from_millis(200);

/// How many lines are printed on a terminal by default.
const TERMINAL_LINES: usize = 100;

/// Print the usage record, and follow it
///
/// Prints a line for each use of a credential, for its result, for each refusal and for each
/// administrative change, from all files of the ledger, compressed or not. With --json the lines are
/// those of the ledger, byte for byte.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret ledger tail -f                             watch what happens
  egret ledger tail --slug github-pat --since 1d   who used it since yesterday
  egret ledger tail --event denied                 what was refused, and why
  egret ledger tail --event use --json | jq .action")]
pub(super) struct Tail {
    /// Wait for more lines and print them as they come
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines; by default all of them, on a terminal the last 100
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    #[command(flatten)]
    filters: Filters,
    /// Print the records themselves, one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Tail {
    /// The same of a server elsewhere.
    pub(super) async fn at(self, server: &Remote) -> anyhow::Result<()> {
        let terminal = io::stdout().is_terminal().then_some(TERMINAL_LINES);
        let lines = Elsewhere {
            server,
            query: self.filters.query(),
            json: self.json,
        };
        lines.tail(self.lines.or(terminal), self.follow).await
    }

    pub(super) fn run(self, dir: &Path) -> anyhow::Result<()> {
        let filter = self.filters.filter();
        let history = History::open(dir)?;
        if history.parts.is_empty() && !self.follow {
            output::note("the ledger is empty: no credential was used or changed yet");
        }
        let mut out = Out {
            filter,
            json: self.json,
            style: Style::of_stdout(),
            printer: Printer::new(),
        };
        // The file that grows is read by what follows it, so that no line is missed in between.
        let (rotated, mut follower) = match history.parts.split_last() {
            Some((current, rotated)) if current.is_current() => {
                let file = current.current_file()?;
                let lines = file.map(|file| FileLines::of(file, &current.path));
                (rotated, lines)
            }
            _ => (&history.parts[..], None),
        };
        self.print_present(rotated, follower.as_mut(), &mut out)?;
        out.printer.flush()?;
        if !self.follow {
            return Ok(());
        }
        let mut follower = match follower {
            Some(lines) => Follower::after(lines),
            None => Follower::from_start(&dir.join(CURRENT)),
        };
        loop {
            for line in follower.poll() {
                out.line(line)?;
            }
            out.printer.flush()?;
            std::thread::sleep(POLL);
        }
    }

    /// What is there already, or the end of it.
    fn print_present(
        &self,
        rotated: &[Part],
        current: Option<&mut FileLines>,
        out: &mut Out,
    ) -> anyhow::Result<()> {
        let terminal = io::stdout().is_terminal().then_some(TERMINAL_LINES);
        let rotated = match out.filter.since {
            Some(since) => History::since_of(rotated, since),
            None => rotated,
        };
        match self.lines.or(terminal) {
            None => {
                for part in rotated {
                    out.part(part)?;
                }
                current
                    .into_iter()
                    .flatten()
                    .try_for_each(|line| out.line(line))
            }
            Some(last) => {
                let mut kept = VecDeque::new();
                for line in current.into_iter().flatten() {
                    keep(&mut kept, last, line, out);
                }
                // Only as far back as needed.
                for part in rotated.iter().rev() {
                    if kept.len() >= last {
                        break;
                    }
                    let mut earlier = VecDeque::new();
                    let room = last - kept.len();
                    out.each(part, |line, out| {
                        keep(&mut earlier, room, line, out);
                        Ok(())
                    })?;
                    earlier.append(&mut kept);
                    kept = earlier;
                }
                kept.into_iter().try_for_each(|line| out.line(line))
            }
        }
    }
}

/// Keeps the last lines that are wanted.
fn keep(
    kept: &mut VecDeque<Result<Line, ReadError>>,
    most: usize,
    line: Result<Line, ReadError>,
    out: &Out,
) {
    if line.as_ref().is_ok_and(|line| !out.wants(line)) || most == 0 {
        return;
    }
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(line);
}

/// Where lines go.
struct Out {
    filter: Filter,
    json: bool,
    style: Style,
    printer: Printer,
}

impl Out {
    fn wants(&self, line: &Line) -> bool {
        RecordRef::parse(line.text.as_bytes()).is_ok_and(|view| self.filter.matches(&view))
    }

    /// Prints a line. One that is not a record does not hide those after it.
    fn line(&mut self, line: Result<Line, ReadError>) -> anyhow::Result<()> {
        match line {
            Ok(line) if !self.wants(&line) => Ok(()),
            Ok(line) if self.json => self.printer.line(&line.text),
            Ok(line) => self.printer.line(&describe(&line.record, self.style)),
            Err(error @ ReadError::NotARecord { .. }) => {
                output::note(&error.to_string());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn part(&mut self, part: &Part) -> anyhow::Result<()> {
        self.each(part, |line, out| out.line(line))
    }

    /// The lines of a rotated file; those that are not wanted are not even copied.
    fn each(
        &mut self,
        part: &Part,
        mut take: impl FnMut(Result<Line, ReadError>, &mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut lines = RawLines::new(part.open()?);
        let mut offset = 0;
        while let Next::Line(bytes) = lines.next_line()? {
            let begin = offset;
            offset += bytes.len() as u64 + 1;
            if RecordRef::parse(bytes).is_ok_and(|view| !self.filter.matches(&view)) {
                continue;
            }
            let line = Line::parse(bytes).ok_or_else(|| ReadError::NotARecord {
                path: part.path.clone(),
                offset: begin,
            });
            take(line, self)?;
        }
        Ok(())
    }
}
