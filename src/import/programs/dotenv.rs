//! `.env` of a project: of all its settings those that look like a key.

use super::spot::{Form, Spot};
use crate::import::dotenv;
use crate::import::error::ImportError;
use crate::services;

/// What the names of keys end with.
const ENDINGS: [&str; 8] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PAT",
    "CREDENTIAL",
    "CREDENTIALS",
];

pub(super) fn find(content: &str) -> Result<Vec<Spot>, ImportError> {
    let rows = dotenv::read_parts(content)?;
    let keys = rows.into_iter().filter(|(row, _)| {
        let name = row.name.to_ascii_uppercase();
        let last = name.rsplit('_').next().unwrap_or_default();
        let is_public = name.contains("PUBLIC");
        let is_named = ENDINGS.contains(&last) && !is_public;
        let value = row.value.expose();
        // A placeholder is in the place of a key, whatever the name says.
        is_named || value.starts_with(b"<<") || services::of_key(value).is_some()
    });
    let spots = keys.map(|(row, part)| {
        // A shell that reads the file would take `<<` for a redirection.
        let spot = Spot::new(content, part, &row.name, row.value.expose());
        spot.form(Form::Quoted('\''))
    });
    Ok(spots.collect())
}
