//! `.npmrc`: `//registry.npmjs.org/:_authToken=…`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::ini;
use super::spot::{Form, Spot};

pub(super) fn find(content: &str) -> Vec<Spot> {
    let entries = ini::entries(content);
    let spots = entries.filter_map(|entry| {
        let (host, key) = match entry.key.strip_prefix("//") {
            Some(rest) => {
                let (registry, key) = rest.rsplit_once(':')?;
                (registry.split('/').next().unwrap_or_default(), key)
            }
            None => ("registry.npmjs.org", entry.key),
        };
        spot(content, key, host, entry.value)
    });
    spots.map(Spot::authorization).collect()
}

fn spot(content: &str, key: &str, host: &str, part: &str) -> Option<Spot> {
    let found = |value: &[u8]| Spot::new(content, part, host, value).hosts([host]);
    let decoded = || BASE64_STANDARD.decode(part).ok().map(Zeroizing::new);
    match key {
        "_authToken" => Some(found(part.as_bytes())),
        "_password" => decoded().map(|value| found(&value).form(Form::Base64)),
        "_auth" => {
            let pair = decoded()?;
            let colon = pair.iter().position(|byte| *byte == b':')?;
            let user = String::from_utf8(pair[..colon].to_vec()).ok()?;
            let quotes = false;
            Some(found(&pair[colon + 1..]).form(Form::Basic { user, quotes }))
        }
        _ => None,
    }
}
