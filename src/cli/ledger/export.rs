//! `egret ledger export`: the usage record for other programs.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::filters::Filters;
use super::print::Printer;
use crate::cli::output;
use crate::ledger::RecordRef;
use crate::ledger::export::{csv, csv_header, ocsf};
use crate::ledger::history::History;
use crate::ledger::lines::{Next, RawLines};

/// Print the usage record for another program
///
/// jsonl: the lines as the ledger has them. csv: RFC 4180, one column for each key; an apostrophe is
/// put before text that a spreadsheet would take for a formula. ocsf: for each line one event of
/// class API Activity (6003), which SIEMs read (https://schema.ocsf.io).
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
        let mut skipped: u64 = 0;
        for part in parts {
            let mut lines = RawLines::new(part.open()?);
            while let Next::Line(line) = lines.next_line()? {
                let Ok(record) = RecordRef::parse(line) else {
                    skipped += 1;
                    continue;
                };
                if !filter.matches(&record) {
                    continue;
                }
                match self.format {
                    Form::Jsonl => {
                        printer.bytes(line)?;
                        printer.bytes(b"\n")?;
                    }
                    Form::Csv => printer.bytes(csv(&record).as_bytes())?,
                    Form::Ocsf => printer.line(&ocsf(&record).to_string())?,
                }
            }
        }
        printer.flush()?;
        if skipped > 0 {
            output::note(&format!(
                "left out because it is not a record: {}; `egret ledger verify` names the first",
                output::count(skipped, "line")
            ));
        }
        Ok(())
    }
}
