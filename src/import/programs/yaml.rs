//! YAML as gh and kubectl write it: blocks, one entry a line. What is written otherwise (in braces, or
//! over several lines) is not read; a key in braces is named.

use super::ini::host_of;
use super::spot::{Form, Spot};

/// A value, and where it is.
struct Entry<'a> {
    /// The keys that lead to it; an item of a list is its number.
    path: Vec<String>,
    /// With its quotes.
    part: &'a str,
    value: String,
}

impl Entry<'_> {
    fn is_at(&self, path: &[&str]) -> bool {
        self.path
            .iter()
            .map(String::as_str)
            .eq(path.iter().copied())
    }
}

fn entries(content: &str) -> Vec<Entry<'_>> {
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut items: Vec<(usize, usize)> = Vec::new();
    let mut entries = Vec::new();
    for line in content.lines() {
        let mut text = line.trim_start();
        let mut indent = line.len() - text.len();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        while let Some(item) = text.strip_prefix("- ") {
            // A list may be indented as much as the key that it belongs to.
            open.retain(|(at, key)| *at < indent || *at == indent && !key.starts_with('-'));
            items.retain(|(at, _)| *at <= indent);
            let number = match items.last_mut() {
                Some((at, number)) if *at == indent => {
                    *number += 1;
                    *number
                }
                _ => {
                    items.push((indent, 0));
                    0
                }
            };
            open.push((indent, format!("-{number}")));
            let trimmed = item.trim_start();
            indent += text.len() - trimmed.len();
            text = trimmed;
        }
        // A host with a port has a colon of its own.
        let entry = text.split_once(": ");
        let Some((key, rest)) = entry.or_else(|| Some((text.trim_end().strip_suffix(':')?, "")))
        else {
            continue;
        };
        open.retain(|(at, _)| *at < indent);
        items.retain(|(at, _)| *at <= indent);
        open.push((indent, plain(key.trim_end()).unwrap_or_default()));
        let part = without_comment(rest.trim());
        if let Some(value) = plain(part).filter(|value| !value.is_empty()) {
            let path = open.iter().map(|(_, key)| key.clone()).collect();
            entries.push(Entry { path, part, value });
        }
    }
    entries
}

fn without_comment(text: &str) -> &str {
    if text.starts_with(['"', '\'']) {
        return text;
    }
    let end = text.find(" #").unwrap_or(text.len());
    text[..end].trim_end()
}

/// What a scalar of one line means.
fn plain(text: &str) -> Option<String> {
    match text.as_bytes().first() {
        None => Some(String::new()),
        // JSON is what is inside of double quotes, but for escapes that these programs do not write.
        Some(b'"') => serde_json::from_str(text).ok(),
        Some(b'\'') => {
            let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
            Some(inner.replace("''", "'"))
        }
        Some(b'{' | b'[' | b'|' | b'>' | b'&' | b'*' | b'!') => None,
        Some(_) => Some(text.to_owned()),
    }
}

/// Adds the first place with one of these keys in braces: JSON is YAML, and other programs write it.
fn name_braces(spots: &mut Vec<Spot>, content: &str, file: &str, keys: &[&str]) {
    let found = in_braces(content, file, keys);
    // What was read all the same is named already.
    let is_apart = |spot: &Spot| {
        let (start, end) = (spot.range().start, spot.range().end);
        let mut others = spots.iter().map(Spot::range);
        others.all(|other| other.end <= start || end <= other.start)
    };
    let found = found.filter(is_apart);
    spots.extend(found);
}

fn in_braces(content: &str, file: &str, keys: &[&str]) -> Option<Spot> {
    let has_key = |text: &str| {
        let spelt = |key: &&str| [format!("{key}:"), format!("{key}\":")];
        let mut spelt = keys.iter().flat_map(spelt);
        spelt.any(|key| text.contains(&key))
    };
    let is_one = |text: &&str| text.starts_with(['{', '[']) && has_key(text);
    let mut values = content.lines().map(|line| {
        let item = line.trim_start_matches([' ', '-']).trim_end();
        let pair = item.split_once(": ").filter(|_| !item.starts_with('{'));
        pair.map_or(item, |(_, value)| value)
    });
    let part = Some(content.trim())
        .filter(is_one)
        .or_else(|| values.find(is_one))?;
    let spot = Spot::new(content, part, file, part.as_bytes());
    Some(spot.obstacle("it is written in braces, which are not read: write one key a line"))
}

/// Each host with a token, which newer versions repeat below each user.
pub(super) fn gh(content: &str) -> Vec<Spot> {
    let is_token = |entry: &Entry<'_>| entry.path.last().is_some_and(|key| key == "oauth_token");
    let tokens = entries(content).into_iter().filter(is_token);
    let spots = tokens.map(|entry| {
        let host = entry.path[0].as_str();
        let spot = Spot::new(content, entry.part, host, entry.value.as_bytes());
        let spot = if host == "github.com" {
            // It is sent to github.com by git, and to api.github.com by gh.
            spot.named("github")
                .hosts(["github.com", "api.github.com", "uploads.github.com"])
        } else {
            spot.hosts([host])
        };
        spot.form(Form::Quoted('"')).authorization()
    });
    let mut spots = spots.collect();
    name_braces(&mut spots, content, "github", &["oauth_token"]);
    spots
}

const PINNED: &str = "kubectl trusts the authority that its configuration names: \
    remove certificate-authority-data there, and add that authority to upstream.ca_files";

/// Tokens, and the keys of client certificates.
pub(super) fn kubernetes(content: &str) -> Vec<Spot> {
    let entries = entries(content);
    let of = |path: &[&str]| entries.iter().find(|entry| entry.is_at(path));
    let named = |list: &str, name: &str| {
        let items = entries.iter().filter(|entry| entry.path[0] == list);
        let mut named = items.filter(|entry| entry.path.len() == 3 && entry.path[2] == "name");
        named
            .find(|entry| entry.value == name)
            .map(|entry| entry.path[1].clone())
    };
    let hosts = |user: &str| {
        let contexts = entries.iter().filter(|entry| {
            let rest = entry.path.get(2..);
            let names_user = rest.is_some_and(|rest| rest == ["context", "user"]);
            entry.path[0] == "contexts" && names_user && entry.value == user
        });
        let servers = contexts.filter_map(|entry| {
            let cluster = of(&["contexts", &entry.path[1], "context", "cluster"])?;
            let item = named("clusters", &cluster.value)?;
            of(&["clusters", &item, "cluster", "server"])
        });
        servers
            .map(|server| host_of(&server.value))
            .collect::<Vec<_>>()
    };
    let mut spots = Vec::new();
    for entry in entries
        .iter()
        .filter(|entry| entry.path[0] == "users" && entry.path.len() == 4)
    {
        let user = of(&["users", &entry.path[1], "name"]).map_or("", |name| &name.value);
        let name = format!("kubernetes-{user}");
        let spot = Spot::new(content, entry.part, &name, entry.value.as_bytes());
        match entry.path[3].as_str() {
            "token" | "password" => spots.push(
                spot.hosts(hosts(user))
                    .form(Form::Quoted('"'))
                    .authorization()
                    .remark(PINNED),
            ),
            "client-key-data" => {
                spots.push(spot.obstacle(
                    "it is the key of a certificate, which TLS uses and no request carries",
                ))
            }
            _ => {}
        }
    }
    let keys = ["token", "password", "client-key-data"];
    name_braces(&mut spots, content, "kubernetes", &keys);
    spots
}
