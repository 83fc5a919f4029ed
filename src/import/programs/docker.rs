//! `config.json` of docker: for each registry the user name and password in base64.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::ini::host_of;
use super::spot::{Form, Spot};
use crate::import::error::{ImportError, at};

/// What docker calls its own registry.
const HUB: &str = "https://index.docker.io/v1/";
/// Where a key of it is sent.
const HUB_HOSTS: [&str; 2] = ["auth.docker.io", "index.docker.io"];

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.auth.zeroize();
        self.identitytoken.zeroize();
    }
}

pub(super) fn find(content: &str) -> Result<Vec<Spot>, ImportError> {
    let file: File = serde_json::from_str(content).map_err(|error| ImportError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    let mut spots = Vec::new();
    for (registry, entry) in &file.auths {
        let hosts = if registry == HUB {
            &HUB_HOSTS[..]
        } else {
            &[host_of(registry)]
        };
        let name = hosts.last().copied().unwrap_or_default();
        for part in quoted(content, &entry.auth)? {
            let pair = BASE64_STANDARD.decode(&entry.auth).ok().map(Zeroizing::new);
            let Some(pair) = pair else { continue };
            let Some(colon) = pair.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let Ok(user) = String::from_utf8(pair[..colon].to_vec()) else {
                continue;
            };
            let form = Form::Basic { user, quotes: true };
            let spot = Spot::new(content, part, name, &pair[colon + 1..]).form(form);
            spots.push(spot.hosts(hosts.iter().copied()).authorization());
        }
        for part in quoted(content, &entry.identitytoken)? {
            let name = format!("{name}-identity");
            let spot = Spot::new(content, part, &name, entry.identitytoken.as_bytes());
            spots.push(
                spot.obstacle("it goes to an address that the registry names when it is asked"),
            );
        }
    }
    Ok(spots)
}

/// Where a string is written, with its quotes.
fn quoted<'a>(content: &'a str, text: &str) -> Result<Vec<&'a str>, ImportError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = Zeroizing::new(format!("\"{text}\""));
    let found: Vec<&str> = content
        .match_indices(wanted.as_str())
        .map(|(index, found)| &content[index..index + found.len()])
        .collect();
    if found.is_empty() {
        return Err(at(1, "a key is written with escapes; write it without"));
    }
    Ok(found)
}
