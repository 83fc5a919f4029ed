//! From rows to types. A row that does not parse means a damaged store, and the whole read fails: a
//! policy guessed from half a row would be worse than no answer.

use std::fmt;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::substitution::slug::{Field, Slug};
use crate::vault::name::{CallerName, Principal};
use crate::vault::seal::Sealed;
use crate::vault::sealed_value::SealedValue;
use crate::vault::store::error::StoreUnavailable;
use crate::vault::store::outbox::{AdminEvent, Event};

fn damaged(column: &'static str) -> StoreUnavailable {
    StoreUnavailable::new(format!(
        "a stored `{column}` cannot be read; restore a backup"
    ))
}

/// Parses a text column, without repeating its content in the error.
fn parse<T, E: fmt::Debug>(
    row: &SqliteRow,
    column: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, StoreUnavailable> {
    parse(row.try_get(column)?).map_err(|_| damaged(column))
}

fn parse_optional<T, E: fmt::Debug>(
    row: &SqliteRow,
    column: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, StoreUnavailable> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(parse).transpose().map_err(|_| damaged(column))
}

/// The version of any row that has one.
pub(super) fn version(row: &SqliteRow) -> Result<u32, StoreUnavailable> {
    u32::try_from(row.try_get::<i64, _>("version")?).map_err(|_| damaged("version"))
}

/// Owner and slug of any row that has them.
pub(super) fn key(row: &SqliteRow) -> Result<(Principal, Slug), StoreUnavailable> {
    Ok((
        parse(row, "owner", Principal::parse)?,
        parse(row, "slug", Slug::parse)?,
    ))
}

/// A sealed value and its field. The empty name is that of a bare value.
pub(super) fn value(row: &SqliteRow) -> Result<(Option<Field>, SealedValue), StoreUnavailable> {
    let field = match row.try_get("field")? {
        "" => None,
        name => Some(Field::parse(name).map_err(|_| damaged("field"))?),
    };
    Ok((field, Sealed::from_bytes(row.try_get("sealed")?).into()))
}

pub(super) fn event(row: &SqliteRow) -> Result<AdminEvent, StoreUnavailable> {
    let version: Option<i64> = row.try_get("version")?;
    Ok(AdminEvent {
        id: row.try_get("id")?,
        time: row.try_get("time")?,
        revision: row.try_get("revision")?,
        event: parse(row, "event", |text| Event::parse(text).ok_or(()))?,
        slug: parse_optional(row, "slug", Slug::parse)?,
        field: parse_optional(row, "field", Field::parse)?,
        version: version
            .map(u32::try_from)
            .transpose()
            .map_err(|_| damaged("version"))?,
        owner: parse_optional(row, "owner", Principal::parse)?,
        principal: parse_optional(row, "principal", Principal::parse)?,
        client: parse_optional(row, "client", str::parse::<CallerName>)?,
        actor: row.try_get("actor")?,
        detail: row.try_get("detail")?,
    })
}
