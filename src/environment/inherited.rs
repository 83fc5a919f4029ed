//! The environment that this process inherited, from which a child's is made.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Holds a client or action token to use instead of a new one.
pub const TOKEN_VARIABLE: &str = "EGRET_TOKEN";

/// Holds a personal API token, for commands about a server elsewhere.
pub const API_TOKEN_VARIABLE: &str = "EGRET_API_TOKEN";

/// The inherited environment, without names that are not UTF-8: none of those is set or removed.
pub type Inherited = BTreeMap<String, OsString>;

/// The inherited environment of this process.
pub fn inherited() -> Inherited {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect()
}
