//! A file for eyes that may see no key: what has a placeholder is in it, and little else.
//!
//! A line is kept if it is known to hold no key, or if each key in it has a placeholder. What nobody
//! thought of is left out: a file can hold secrets that are not looked for.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::kind::ProgramFile;
use super::netrc;
use super::spot::{Spot, spliced};

/// The file with the placeholders of `spots`, and without the keys that have none. None if nothing of
/// use would be left.
pub fn shown(kind: ProgramFile, content: &str, spots: &[(Spot, Option<String>)]) -> Option<String> {
    let has_any = spots.iter().any(|(_, placeholder)| placeholder.is_some());
    match kind {
        _ if !has_any => None,
        ProgramFile::Docker => docker(content, spots),
        // kubectl needs to know its cluster's authority, and AWS programs sign.
        ProgramFile::Aws | ProgramFile::Kubernetes | ProgramFile::Dotenv => None,
        _ => Some(lines(kind, content, spots)),
    }
}

fn lines(kind: ProgramFile, content: &str, spots: &[(Spot, Option<String>)]) -> String {
    let mut text = String::new();
    let mut at = 0;
    for line in content.split_inclusive('\n') {
        let part = at..at + line.len();
        at = part.end;
        let touching: Vec<_> = spots
            .iter()
            .filter(|(spot, _)| spot.range().start < part.end && spot.range().end > part.start)
            .collect();
        let inside: Option<Vec<_>> = touching
            .iter()
            .map(|(spot, placeholder)| {
                let is_inside = spot.range().start >= part.start && spot.range().end <= part.end;
                let placeholder = placeholder.as_ref().filter(|_| is_inside)?;
                Some((spot, placeholder.clone()))
            })
            .collect();
        match inside {
            Some(inside) if !inside.is_empty() => text += &spliced(content, part, &inside),
            Some(_) if is_harmless(kind, line.trim()) => text += line,
            _ => {}
        }
    }
    text
}

/// Whether a line holds no key, whatever its value is.
fn is_harmless(kind: ProgramFile, line: &str) -> bool {
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let key = key.trim_end();
    let is_section = line.starts_with('[') && line.ends_with(']');
    match kind {
        ProgramFile::Netrc => {
            let known = ["machine", "login", "default"];
            let words = netrc::words(line);
            words.first().is_some_and(|word| known.contains(word)) && words.len() <= 2
        }
        ProgramFile::Npm => {
            let is_name = key.starts_with("//") && key.ends_with(":username");
            let is_registry = key == "registry" || key.ends_with(":registry");
            is_name || is_registry && !value.contains('@')
        }
        ProgramFile::GitHubCli => {
            let key = line.split(':').next().unwrap_or_default();
            line.ends_with(':') || matches!(key, "user" | "git_protocol")
        }
        ProgramFile::Pypi => {
            is_section || key == "username" || key == "repository" && !value.contains('@')
        }
        ProgramFile::Cargo => is_section,
        // Its only keys are those of URLs.
        ProgramFile::Pip => !line.contains('@'),
        _ => false,
    }
}

/// The registries with a placeholder, and nothing else of the file.
fn docker(content: &str, spots: &[(Spot, Option<String>)]) -> Option<String> {
    let spots: Vec<_> = spots
        .iter()
        .filter_map(|(spot, placeholder)| Some((spot, placeholder.clone()?)))
        .collect();
    let whole = spliced(content, 0..content.len(), &spots);
    let file = serde_json::from_str::<Value>(&whole).ok()?;
    let kept = file["auths"]
        .as_object()?
        .iter()
        .filter_map(|(registry, entry)| {
            let auth = entry["auth"].as_str().filter(|auth| is_placeholder(auth))?;
            Some((registry.clone(), json!({ "auth": auth })))
        });
    Some(json!({ "auths": kept.collect::<Map<_, _>>() }).to_string())
}

/// Whether the password of a pair is a placeholder.
fn is_placeholder(auth: &str) -> bool {
    let Ok(pair) = BASE64_STANDARD.decode(auth) else {
        return false;
    };
    let password = pair.splitn(2, |byte| *byte == b':').nth(1);
    password.is_some_and(|text| text.starts_with(b"<<") && text.ends_with(b">>"))
}
