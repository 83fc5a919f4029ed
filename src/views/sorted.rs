//! Members in alphabetical order.

use serde::{Serialize, Serializer};

/// Writes `value` with the members of each object in alphabetical order: how it has been written
/// inside these views from the start, whatever order its own type has.
pub(super) fn sorted<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Serialize,
    S: Serializer,
{
    let value = serde_json::to_value(value).map_err(serde::ser::Error::custom)?;
    value.serialize(serializer)
}
