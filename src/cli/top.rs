//! `egret top`: what goes through, live.

mod tally;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Args;
use time::OffsetDateTime;

use self::tally::{Row, Tally};
use super::context::Context;
use super::output::{self, Style};
use super::when;
use crate::ledger::history::History;
use crate::ledger::lines::{Next, RawLines};
use crate::ledger::reader::Follower;
use crate::ledger::{CURRENT, RecordRef, Timestamp};
use crate::views;

/// How often the view is made again.
const INTERVAL: Duration = Duration::from_secs(1);
/// Clears the terminal, and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Watch what goes through, by action, credential and destination
///
/// Shows uses of credentials within the last minute, the most frequent first, with what was refused and
/// how the last one ended. It is read off the ledger, so requests without a credential are not in it, and
/// it needs no server. Ctrl-C ends it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret top
  egret top --window 1h --rows 50
  egret top --once --json | jq '.rows[0]'")]
pub(super) struct Top {
    /// How far back it looks
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    window: when::Lifetime,
    /// Most rows that are shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    rows: usize,
    /// Show it once, and end
    #[arg(long)]
    once: bool,
    /// Print JSON
    #[arg(long, requires = "once")]
    json: bool,
}

impl Top {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let dir = context.load()?.config.ledger_dir();
        let window = self.window.seconds().saturating_mul(1_000_000);
        let mut tally = Tally::over(window);
        // Opened first, so that no line is missed between the two.
        let mut follower = Follower::from_end(&dir.join(CURRENT))?;
        let last = read(&dir, now().saturating_sub(window), &mut tally)?;
        if self.once {
            return self.print(&mut tally);
        }
        let is_terminal = io::stdout().is_terminal();
        loop {
            for line in follower.poll().into_iter().flatten() {
                if line.record.seq > last
                    && let Ok(record) = RecordRef::parse(line.text.as_bytes())
                {
                    tally.see(&record);
                }
            }
            let text = self.text(&tally.rows(now()), Style::of_stdout());
            output::print(&if is_terminal {
                format!("{CLEAR}{text}")
            } else {
                format!("{text}\n")
            })?;
            thread::sleep(INTERVAL);
        }
    }

    fn print(&self, tally: &mut Tally) -> anyhow::Result<()> {
        let mut rows = tally.rows(now());
        if self.json {
            rows.truncate(self.rows);
            return output::json(&views::Top {
                rows: rows.into_iter().map(view).collect(),
                window_s: self.window.seconds(),
            });
        }
        output::print(&self.text(&rows, Style::of_stdout()))
    }

    fn text(&self, rows: &[Row], style: Style) -> String {
        let uses: u64 = rows.iter().map(|row| row.uses).sum();
        let refused: u64 = rows.iter().map(|row| row.refused).sum();
        let head = format!(
            "{} and {} refused in {} s\n",
            output::count(uses, "use"),
            refused,
            self.window.seconds()
        );
        let cells: Vec<_> = rows.iter().take(self.rows).map(cells).collect();
        let headers = [
            "USES",
            "REFUSED",
            "ACTION",
            "CREDENTIAL",
            "DESTINATION",
            "LAST",
        ];
        let mut text = style.bold(&head) + &output::table(headers, &cells);
        if rows.len() > self.rows {
            text += &format!("and {} more rows\n", rows.len() - self.rows);
        }
        text
    }
}

fn cells(row: &Row) -> [String; 6] {
    [
        row.uses.to_string(),
        row.refused.to_string(),
        output::printable(&row.action),
        output::printable(&row.slug),
        output::printable(&row.destination),
        output::printable(&row.last),
    ]
}

fn view(row: Row) -> views::TopRow {
    views::TopRow {
        action: row.action,
        destination: row.destination,
        last: row.last,
        refused: row.refused,
        slug: row.slug,
        uses: row.uses,
    }
}

/// Reads what is there of the window. Returns the number of the last line.
fn read(dir: &Path, since: i64, tally: &mut Tally) -> anyhow::Result<u64> {
    let mut last = 0;
    for part in History::open(dir)?.since(Timestamp::from_unix_micros(since)) {
        let mut lines = RawLines::new(part.open()?);
        while let Next::Line(line) = lines.next_line()? {
            if let Ok(record) = RecordRef::parse(line) {
                last = record.seq;
                tally.see(&record);
            }
        }
    }
    Ok(last)
}

/// Microseconds since 1970.
fn now() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}
