//! The environment of a program that speaks through the proxy.

use std::collections::BTreeMap;

use serde::Serialize;

/// `egret env`. Not `Debug`: the proxy's URL holds a token.
#[derive(Serialize)]
pub struct Environment<'a> {
    /// Variables to set.
    pub set: BTreeMap<&'a str, &'a str>,
    /// Variables to remove.
    pub unset: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_their_names_and_order() {
        let environment = Environment {
            set: BTreeMap::from([("B", "2"), ("A", "1")]),
            unset: &["C".to_owned()],
        };
        assert_eq!(
            serde_json::to_string(&environment).unwrap(),
            r#"{"set":{"A":"1","B":"2"},"unset":["C"]}"#
        );
    }
}
