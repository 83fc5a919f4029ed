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

/// All that a sandbox needs to use the proxy. Not `Debug`: it holds a token, which is shown this once.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Sandbox {
    /// The public name of the token.
    pub id: String,
    /// The token, which is not shown again.
    pub token: String,
    /// When it stops working.
    pub expires: String,
    /// Host and port of the proxy.
    pub address: String,
    /// The proxy's URL, with action and token.
    pub proxy: String,
    /// The certificate authority that the sandbox has to trust.
    pub authority: SandboxAuthority,
    /// Variables to set, as `egret env` prints them.
    pub set: BTreeMap<String, String>,
    /// Variables to remove, which would win.
    pub unset: Vec<String>,
    /// The files that the variables name.
    pub files: Vec<SandboxFile>,
}

/// The certificate authority.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SandboxAuthority {
    /// SHA-256 of the certificate, in hexadecimal.
    pub sha256: String,
    /// The certificate, PEM.
    pub pem: String,
}

/// A file that a variable names.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SandboxFile {
    /// Where it has to be.
    pub path: String,
    /// How its content is written here: `text` or `base64`.
    pub encoding: &'static str,
    /// What has to be in it.
    pub content: String,
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
