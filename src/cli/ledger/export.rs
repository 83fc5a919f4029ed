//! `egret ledger export`: the usage record for other programs.

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::filters::Filters;
use super::print::Printer;
use crate::cli::output;
use crate::cli::remote::{Remote, RemoteLines};
use crate::ledger::RecordRef;
use crate::ledger::export::{csv, csv_header, ocsf};
use crate::ledger::history::History;
use crate::ledger::lines::{Next, RawLines};

/// Print the usage record for another program
///
/// jsonl: the lines as the ledger has them. csv: RFC 4180, one column for each key; an apostrophe is
/// put before text that a spreadsheet would take for a formula. ocsf: for each line one event of
/// class API Activity (6003), which SIEMs read (https://schema.ocsf.io). With --server it has the lines
/// that the user of the token may see.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret ledger export --format csv --since 30d > usage.csv
  egret ledger export --format ocsf --event use | vector --config siem.toml")]
pub(super) struct Export {
    /// The format
    #[arg(long, value_enum, default_value_t = Form::Jsonl)]
    format: Form,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Jsonl,
    Csv,
    Ocsf,
}

impl Export {
    pub(super) fn run(self, dir: &Path) -> anyhow::Result<()> {
        let filter = self.filters.filter();
        let history = History::open(dir)?;
        let parts = match filter.since {
            Some(since) => history.since(since),
            None => &history.parts,
        };
        let mut printer = Printer::new();
        if self.format == Form::Csv {
            printer.bytes(csv_header().as_bytes())?;
        }
        let mut gaps = Gaps::default();
        for part in parts {
            let mut lines = RawLines::new(part.open()?);
            while let Next::Line(line) = lines.next_line()? {
                let Ok(record) = RecordRef::parse(line) else {
                    gaps.unreadable += 1;
                    continue;
                };
                gaps.pass(record.seq);
                if !filter.matches(&record) {
                    continue;
                }
                self.print(line, &record, &mut printer)?;
            }
        }
        printer.flush()?;
        gaps.check()
    }

    /// The same of a server elsewhere: the lines that the user of the token may see. Whether lines are
    /// missing cannot be told from them.
    pub(super) async fn at(self, server: &Remote) -> anyhow::Result<()> {
        let mut printer = Printer::new();
        if self.format == Form::Csv {
            printer.bytes(csv_header().as_bytes())?;
        }
        let mut lines = RemoteLines::new(server, self.filters.query(), 0);
        let mut print = |line: String| {
            let record = RecordRef::parse(line.as_bytes())?;
            self.print(line.as_bytes(), &record, &mut printer)
        };
        lines
            .each(|record| print(serde_json::to_string(record)?))
            .await?;
        printer.flush()
    }

    /// One line in the format.
    fn print(
        &self,
        line: &[u8],
        record: &RecordRef<'_>,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        match self.format {
            Form::Jsonl => {
                printer.bytes(line)?;
                printer.bytes(b"\n")
            }
            Form::Csv => printer.bytes(csv(record).as_bytes()),
            Form::Ocsf => printer.line(&ocsf(record).to_string()),
        }
    }
}

/// What is not in the export although it should be.
#[derive(Default)]
struct Gaps {
    last: Option<u64>,
    /// Lines that are no records.
    unreadable: u64,
    /// Lines that are missing, and the first range of them.
    missing: u64,
    first_missing: Option<RangeInclusive<u64>>,
}

impl Gaps {
    fn pass(&mut self, seq: u64) {
        let next = self.last.map_or(seq, |last| last.saturating_add(1));
        if seq > next {
            self.missing += seq - next;
            self.first_missing.get_or_insert(next..=seq - 1);
        }
        self.last = Some(seq);
    }

    /// Lines that are no records leave a gap in the numbers too.
    fn check(self) -> anyhow::Result<()> {
        let Some(first) = self.first_missing else {
            if self.unreadable == 0 {
                return Ok(());
            }
            bail!(
                "the export is not complete: {} could not be read; `egret ledger verify` names the \
                 first",
                output::count(self.unreadable, "line")
            );
        };
        bail!(
            "the export is not complete: lines {} to {} are not there or cannot be read ({} in \
             all); `egret ledger verify` says more",
            first.start(),
            first.end(),
            output::count(self.missing, "line")
        )
    }
}
