//! Lines of the ledger of a server elsewhere, page by page, oldest first.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::exchange::Remote;
use crate::ledger::Record;

/// Lines that are asked for at once.
const PAGE: usize = 500;

/// A page of lines.
#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    next: Option<u64>,
}

/// The lines that the user of the token may see, after one of them.
pub(in crate::cli) struct RemoteLines<'a> {
    server: &'a Remote,
    /// Which lines, as a part of a query: `&slug=github-pat`.
    query: String,
    /// Up to which line was looked.
    after: u64,
    is_at_end: bool,
}

impl<'a> RemoteLines<'a> {
    pub(in crate::cli) fn new(server: &'a Remote, query: String, after: u64) -> Self {
        Self {
            server,
            query,
            after,
            is_at_end: false,
        }
    }

    /// The next lines, in their order; none at the end. Asked again, it goes on with what has come since.
    pub(in crate::cli) async fn next_page(&mut self) -> anyhow::Result<Vec<Record>> {
        self.is_at_end = false;
        while !self.is_at_end {
            let (after, query) = (self.after, &self.query);
            let path = format!("/ledger?limit={PAGE}&after={after}{query}");
            let page: Page = self.server.get_exactly(&path).await?;
            let records: Vec<Record> = page.items.iter().map(record).collect::<Result<_, _>>()?;
            let last = records.iter().map(|record| record.seq).max();
            self.after = self.after.max(last.unwrap_or(0));
            match page.next {
                Some(next) if next > after => self.after = self.after.max(next),
                _ => self.is_at_end = true,
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
        Ok(Vec::new())
    }

    /// Hands out all lines that are there.
    pub(in crate::cli) async fn each(
        &mut self,
        mut take: impl FnMut(&Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let records = self.next_page().await?;
            records.iter().try_for_each(&mut take)?;
            if records.is_empty() || self.is_at_end {
                return Ok(());
            }
        }
    }
}

/// A line as the API shows it.
pub(in crate::cli) fn record(item: &Value) -> anyhow::Result<Record> {
    let record = Record::parse(item.to_string().as_bytes()).ok();
    record.context("the server sent a line that this version of Egret does not understand")
}
