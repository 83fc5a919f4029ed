//! Why a file cannot be imported. Never with a part of it.

/// Why a file cannot be imported.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A line is not of the format.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1 on.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry of a JSON file.
    #[error("entry {number}: {reason}")]
    Entry {
        /// From 1 on, in the order of the file.
        number: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It is no JSON. The parser's own words would quote it.
    #[error("line {line}, column {column}: this is not valid JSON")]
    Json {
        /// From 1 on.
        line: usize,
        /// From 1 on.
        column: usize,
    },
    /// The header line names no column with a value.
    #[error(
        "the first line has no column `password`: is it an export of 1Password or Bitwarden, with its header line?"
    )]
    Columns,
    /// More than 10,000 entries.
    #[error("the file has more than 10,000 entries")]
    TooMany,
}

/// An error of a line.
pub(super) fn at(line: usize, reason: &'static str) -> ImportError {
    ImportError::Line { line, reason }
}
