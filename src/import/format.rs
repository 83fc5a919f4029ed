//! The formats, and how one is told.

use std::str::FromStr;

use super::error::ImportError;
use super::row::{MOST_ROWS, Row};
use super::{csv, dotenv, json};

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `NAME=value` lines.
    Dotenv,
    /// An object: a value, or an object with value, hosts, places and kind, for each slug.
    Json,
    /// What 1Password, Bitwarden and browsers export: a table with a header line.
    Csv,
}

impl Format {
    /// The format that a file of this name, or with this content, has.
    pub fn of(name: &str, content: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".csv") {
            Self::Csv
        } else if name.ends_with(".json") || content.trim_start().starts_with('{') {
            Self::Json
        } else {
            Self::Dotenv
        }
    }

    /// Reads the rows of a file.
    ///
    /// # Errors
    /// The number of the line that cannot be read, and why; nothing of its content.
    pub fn read(self, content: &str) -> Result<Vec<Row>, ImportError> {
        let content = content.strip_prefix('\u{feff}').unwrap_or(content);
        let rows = match self {
            Self::Dotenv => dotenv::read(content)?,
            Self::Json => json::read(content)?,
            Self::Csv => csv::read(content)?,
        };
        if rows.len() > MOST_ROWS {
            return Err(ImportError::TooMany);
        }
        Ok(rows)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "env" | "dotenv" => Ok(Self::Dotenv),
            "json" => Ok(Self::Json),
            "csv" | "1password" | "bitwarden" => Ok(Self::Csv),
            _ => Err("write env, json or csv".to_owned()),
        }
    }
}
