//! `credentials.toml` of cargo.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::spot::{Form, Spot};
use crate::import::error::{ImportError, at};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Registry,
    #[serde(default)]
    registries: BTreeMap<String, Registry>,
}

#[derive(Default, Deserialize)]
struct Registry {
    token: Option<Spanned<String>>,
}

pub(super) fn find(content: &str) -> Result<Vec<Spot>, ImportError> {
    let file: File = toml::from_str(content).map_err(|error| {
        // The parser's own words would quote it.
        let start = error.span().map_or(0, |span| span.start.min(content.len()));
        let before = content.as_bytes()[..start].iter();
        at(
            1 + before.filter(|byte| **byte == b'\n').count(),
            "this is not valid TOML",
        )
    })?;
    let spot = |token: &Spanned<String>, name: &str| {
        let part = &content[token.span()];
        let value = token.get_ref().as_bytes();
        Spot::new(content, part, name, value)
            .form(Form::Quoted('"'))
            .authorization()
    };
    let own = file.registry.token.iter();
    let own = own.map(|token| spot(token, "crates-io").hosts(["crates.io"]));
    let others = file.registries.iter().filter_map(|(name, registry)| {
        let token = registry.token.as_ref()?;
        Some(spot(token, &format!("cargo-{name}")))
    });
    Ok(own.chain(others).collect())
}
