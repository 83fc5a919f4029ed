//! Which server, and with which token.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use http::Uri;
use zeroize::Zeroizing;

use crate::cli::exit::usage;
use crate::environment::inherited::API_TOKEN_VARIABLE;

/// Longest token in a file, in bytes.
const LONGEST: u64 = 4096;

/// Which server a command is about.
#[derive(Args, Clone, Default)]
pub(in crate::cli) struct ServerArgs {
    /// Work on a server elsewhere, over its API: https://egret.internal
    ///
    /// With a personal API token of that server, from EGRET_API_TOKEN or --token-file. Also EGRET_SERVER.
    /// http is for addresses of this machine only.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help_heading = "A server elsewhere"
    )]
    server: Option<String>,
    /// A file with the API token; also EGRET_API_TOKEN_FILE
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "A server elsewhere"
    )]
    token_file: Option<PathBuf>,
    /// A file with certificates to trust besides the system's; also EGRET_SERVER_CA
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "A server elsewhere"
    )]
    server_ca: Option<PathBuf>,
}

/// What a command says that is about its own machine.
pub(in crate::cli) const ONLY_HERE: &str = "this command works on this machine only, without --server and EGRET_SERVER; docs/api.md lists those \
     that work on a server elsewhere";

/// Whether a command was given an option of [`ServerArgs`] that does not take them.
pub(in crate::cli) fn is_out_of_place(error: &clap::Error) -> bool {
    let argument = error.get(ContextKind::InvalidArg);
    let own = ["--server", "--token-file", "--server-ca"];
    error.kind() == ErrorKind::UnknownArgument
        && matches!(argument, Some(ContextValue::String(name)) if own.contains(&name.as_str()))
}

/// A server, how it is known, and the token.
pub(super) struct Named {
    /// `https://egret.internal:7071`.
    pub(super) base: String,
    pub(super) roots: Vec<PathBuf>,
    pub(super) token: Zeroizing<String>,
}

impl ServerArgs {
    /// The server, if one is named.
    pub(super) fn read(&self) -> anyhow::Result<Option<Named>> {
        let url = match &self.server {
            Some(url) => Some(url.clone()),
            None => variable("EGRET_SERVER")
                .map(OsString::into_string)
                .transpose()
                .map_err(|_| usage("EGRET_SERVER is no URL"))?,
        };
        let Some(url) = url else {
            if self.token_file.is_some() || self.server_ca.is_some() {
                return Err(usage(
                    "--token-file and --server-ca are for a server that --server names",
                ));
            }
            return Ok(None);
        };
        let ca = self.server_ca.clone();
        let ca = ca.or_else(|| variable("EGRET_SERVER_CA").map(PathBuf::from));
        Ok(Some(Named {
            base: base(&url)?,
            roots: ca.into_iter().collect(),
            token: self.token()?,
        }))
    }

    fn token(&self) -> anyhow::Result<Zeroizing<String>> {
        let file = self.token_file.clone();
        let token = match file {
            Some(file) => of_file(&file)?,
            None => match variable(API_TOKEN_VARIABLE) {
                Some(token) => Zeroizing::new(token.into_string().unwrap_or_default()),
                None => match variable("EGRET_API_TOKEN_FILE") {
                    Some(file) => of_file(Path::new(&file))?,
                    None => {
                        return Err(usage(
                            "a server needs a personal API token: put one into EGRET_API_TOKEN, or name a file \
                             with one with --token-file. `egret api-token add` on the host and the page make them",
                        ));
                    }
                },
            },
        };
        let is_token = token.starts_with("egp_") && token.bytes().all(|b| b.is_ascii_graphic());
        if is_token {
            return Ok(token);
        }
        // It is not repeated: it may be the token of something else.
        Err(usage(
            "that is no personal API token: those begin with egp_",
        ))
    }
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn of_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize + 1));
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// The URL of a server without what is behind its authority.
fn base(url: &str) -> anyhow::Result<String> {
    let wrong =
        || usage("write the server's URL as in https://egret.internal or http://127.0.0.1:7071");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let scheme = uri.scheme_str().ok_or_else(wrong)?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let is_bare = uri.path() == "/" && uri.query().is_none();
    if !is_bare || !["http", "https"].contains(&scheme) || authority.as_str().contains('@') {
        return Err(wrong());
    }
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_scheme_and_an_authority() {
        for (url, expected) in [
            ("https://egret.internal", "https://egret.internal"),
            ("https://egret.internal/", "https://egret.internal"),
            ("http://127.0.0.1:7071", "http://127.0.0.1:7071"),
        ] {
            assert_eq!(base(url).expect(url), expected);
        }
        for url in [
            "egret.internal",
            "egret.internal:7071",
            "ftp://egret.internal",
            "https://user:word@egret.internal",
            "https://egret.internal/egret",
            "https://egret.internal/?x",
            "",
        ] {
            let error = base(url).expect_err(url).to_string();
            assert!(!error.contains("word"), "{error}");
        }
    }
}
