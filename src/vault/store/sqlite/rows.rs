//! From rows to types. A row that does not parse means a damaged store, and the whole read fails: a
//! policy guessed from half a row would be worse than no answer.

use std::collections::BTreeSet;
use std::fmt;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::substitution::slug::{Field, Slug};
use crate::vault::model::{Client, Credential, Kind, ReplacedVersion, State};
use crate::vault::name::{ClientName, Principal};
use crate::vault::seal::Sealed;
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

/// The kind of a credential.
pub(super) fn kind(row: &SqliteRow) -> Result<Kind, StoreUnavailable> {
    parse(row, "kind", str::parse)
}

/// Owner and slug of any row that has them.
pub(super) fn key(row: &SqliteRow) -> Result<(Principal, Slug), StoreUnavailable> {
    Ok((
        parse(row, "owner", Principal::parse)?,
        parse(row, "slug", Slug::parse)?,
    ))
}

/// A credential without its values and shares, which are in other tables.
pub(super) fn credential(row: &SqliteRow) -> Result<Credential, StoreUnavailable> {
    let (owner, slug) = key(row)?;
    Ok(Credential {
        owner,
        slug,
        kind: kind(row)?,
        description: row.try_get("description")?,
        grant: parse(row, "allowed", |json| serde_json::from_str(json))?,
        state: if row.try_get("revoked")? {
            State::Revoked
        } else {
            State::Active
        },
        version: version(row)?,
        created: row.try_get("created")?,
        rotated: row.try_get("rotated")?,
        shared_with: BTreeSet::new(),
        fields: Vec::new(),
        previous: None,
    })
}

/// Adds a sealed value to its credential, of the current version or of the one it replaced. The
/// empty field name is that of a bare value.
pub(super) fn add_value(
    credential: &mut Credential,
    row: &SqliteRow,
) -> Result<(), StoreUnavailable> {
    let field = match row.try_get("field")? {
        "" => None,
        name => Some(Field::parse(name).map_err(|_| damaged("field"))?),
    };
    let value = Sealed::from_bytes(row.try_get("sealed")?).into();
    let version = version(row)?;
    let fields = if version == credential.version {
        &mut credential.fields
    } else {
        let replaced = || ReplacedVersion {
            version,
            fields: Vec::new(),
        };
        &mut credential.previous.get_or_insert_with(replaced).fields
    };
    fields.push((field, value));
    Ok(())
}

/// The principal of a share.
pub(super) fn principal(row: &SqliteRow) -> Result<Principal, StoreUnavailable> {
    parse(row, "principal", Principal::parse)
}

pub(super) fn client(row: &SqliteRow) -> Result<Client, StoreUnavailable> {
    let token_hash: &[u8] = row.try_get("token_hash")?;
    Ok(Client {
        name: parse(row, "name", ClientName::parse)?,
        principal: principal(row)?,
        created: row.try_get("created")?,
        expires: row.try_get("expires")?,
        enrolment: row.try_get("enrolment")?,
        token_hash: token_hash.try_into().map_err(|_| damaged("token_hash"))?,
    })
}

pub(super) fn event(row: &SqliteRow) -> Result<AdminEvent, StoreUnavailable> {
    let version: Option<i64> = row.try_get("version")?;
    Ok(AdminEvent {
        id: row.try_get("id")?,
        time: row.try_get("time")?,
        event: parse(row, "event", |text| Event::parse(text).ok_or(()))?,
        slug: parse_optional(row, "slug", Slug::parse)?,
        field: parse_optional(row, "field", Field::parse)?,
        version: version
            .map(u32::try_from)
            .transpose()
            .map_err(|_| damaged("version"))?,
        owner: parse_optional(row, "owner", Principal::parse)?,
        principal: parse_optional(row, "principal", Principal::parse)?,
        client: parse_optional(row, "client", ClientName::parse)?,
        actor: row.try_get("actor")?,
        detail: row.try_get("detail")?,
    })
}
