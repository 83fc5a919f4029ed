//! `egret ledger tail --server`: the usage record of a server elsewhere, page by page.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::describe::describe;
use super::print::Printer;
use crate::cli::output::Style;
use crate::cli::remote::{Remote, RemoteLines, record};
use crate::ledger::Record;

/// How often a followed ledger is asked for.
const POLL: Duration = Duration::from_secs(1);

/// A page of lines.
#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    next: Option<u64>,
}

/// Lines of a server elsewhere, on standard output.
pub(super) struct Elsewhere<'a> {
    pub(super) server: &'a Remote,
    /// Which lines, as a query: `&slug=github-pat`.
    pub(super) query: String,
    pub(super) json: bool,
}

impl Elsewhere<'_> {
    /// Prints the last `most` lines, or all of them, and those that come if `follow`.
    pub(super) async fn tail(&self, most: Option<usize>, follow: bool) -> anyhow::Result<()> {
        let mut printer = Printer::new();
        // Before what is there is read: no line is missed in between.
        let seen = self.last().await?;
        match most {
            Some(most) => {
                for record in self.last_lines(most, seen).await? {
                    self.print(&record, &mut printer)?;
                }
            }
            None => {
                let mut all = RemoteLines::new(self.server, self.query.clone(), 0);
                all.each(|record| self.print_up_to(seen, record, &mut printer))
                    .await?;
            }
        }
        printer.flush()?;
        if !follow {
            return Ok(());
        }
        let mut news = RemoteLines::new(self.server, self.query.clone(), seen);
        loop {
            tokio::time::sleep(POLL).await;
            for record in news.next_page().await? {
                self.print(&record, &mut printer)?;
            }
            printer.flush()?;
        }
    }

    /// The number of the last line that the user of the token may see.
    async fn last(&self) -> anyhow::Result<u64> {
        let page: Page = self.server.get("/ledger?limit=1").await?;
        let last = page.items.iter().map(record).next().transpose()?;
        Ok(last.map_or(0, |record| record.seq))
    }

    /// Prints a line that was there at the beginning.
    fn print_up_to(&self, last: u64, record: &Record, printer: &mut Printer) -> anyhow::Result<()> {
        if record.seq > last {
            return Ok(());
        }
        self.print(record, printer)
    }

    /// The last lines up to one, oldest first.
    async fn last_lines(&self, most: usize, last: u64) -> anyhow::Result<VecDeque<Record>> {
        let mut found = VecDeque::new();
        let mut before = last.saturating_add(1);
        while found.len() < most {
            let limit = (most - found.len()).min(500);
            let path = format!("/ledger?limit={limit}&before={before}{}", self.query);
            let page: Page = self.server.get(&path).await?;
            for item in &page.items {
                found.push_front(record(item)?);
            }
            match page.next {
                Some(next) if next < before => before = next,
                _ => break,
            }
        }
        Ok(found)
    }

    fn print(&self, record: &Record, printer: &mut Printer) -> anyhow::Result<()> {
        if self.json {
            return printer.line(&serde_json::to_string(record)?);
        }
        printer.line(&describe(record, Style::of_stdout()))
    }
}
