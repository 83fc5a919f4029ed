//! Printing: tables and JSON on standard output, notes on standard error.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use serde::Serialize;

use crate::observe::redact::redact;
use crate::vault::readable::deceives;

/// `--json`, for every command that prints data.
#[derive(Args, Clone, Copy)]
pub(super) struct Format {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Writes text to standard output and flushes it.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes one JSON value: indented on a terminal, else on one line.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    };
    print(&format!("{text}\n"))
}

/// Writes the view if JSON was asked for, else the text.
pub(super) fn data(
    format: Format,
    view: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if format.json {
        json(view)
    } else {
        print(&text())
    }
}

/// A number of things: "1 file", "2 files".
pub(super) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A remark that is not part of the output.
pub(super) fn note(text: &str) {
    eprintln!("egret: {}", redact(text));
}

/// Says on standard error what a command is doing, to a person who watches.
pub(super) fn progress(text: &str) {
    if io::stderr().is_terminal() {
        eprintln!("egret: {}", redact(text));
    }
}

/// Whether the reader of standard output has closed it.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Columns aligned with spaces, no trailing ones.
pub(super) fn table<const N: usize>(headers: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headers.map(|header| header.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let headers = headers.map(str::to_owned);
    for row in std::iter::once(&headers).chain(rows) {
        let line: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Text that is not ours, made safe for a terminal, where a control character could move the cursor
/// or do worse, and others could make it look like another text.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if deceives(c) { '\u{FFFD}' } else { c })
        .collect()
}

/// Colours, or none.
#[derive(Clone, Copy)]
pub(super) struct Style {
    colour: bool,
}

impl Style {
    /// Colours only on a terminal, and none where the user asks for none (<https://no-color.org>).
    pub(super) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: io::stdout().is_terminal() && !refused,
        }
    }

    /// No colours.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self { colour: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_clean() {
        let rows = [
            ["a".to_owned(), "long one".to_owned(), String::new()],
            ["bcd".to_owned(), "x".to_owned(), "y".to_owned()],
        ];
        let expected = "S    HOSTS     X\na    long one\nbcd  x         y\n";
        assert_eq!(table(["S", "HOSTS", "X"], &rows), expected);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\n"), "a\u{FFFD}[2Jb\u{FFFD}\u{FFFD}");
        assert_eq!(printable("a\u{202e}b\u{e9}"), "a\u{FFFD}b\u{e9}");
    }
}
