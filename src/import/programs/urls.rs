//! URLs with a user name and a password, in any text: `.git-credentials`, `pip.conf`.

use super::spot::{Form, Spot};
use crate::substitution::percent;

pub(super) fn find(content: &str) -> Vec<Spot> {
    let lines = content.lines().filter(|line| !is_comment(line));
    lines.flat_map(|line| of_line(content, line)).collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

fn of_line(content: &str, line: &str) -> Vec<Spot> {
    let mut spots = Vec::new();
    let words = line.split(|char: char| char.is_whitespace() || matches!(char, '=' | '"' | '\''));
    for word in words {
        let https = word.strip_prefix("https://").map(|rest| (rest, ""));
        let http = word.strip_prefix("http://").map(|rest| (rest, "http://"));
        if let Some((rest, scheme)) = https.or(http) {
            spots.extend(of_url(content, rest, scheme));
        }
    }
    spots
}

/// The key of a URL of which `rest` follows the scheme.
fn of_url(content: &str, rest: &str, scheme: &str) -> Option<Spot> {
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (user_info, host) = authority.rsplit_once('@')?;
    // A token is the user name, where there is no password (GitHub).
    let part = match user_info.split_once(':') {
        Some((user, "" | "x-oauth-basic")) => user,
        Some((_, password)) => password,
        None => user_info,
    };
    // A user name without a password is no key, but a token is often alone.
    let is_name = !user_info.contains(':') && part.len() < SHORTEST_TOKEN;
    let value = percent::decode(part.as_bytes());
    let pattern = format!("{scheme}{host}");
    let spot = Spot::new(content, part, host, &value).form(Form::Url);
    (!is_name || value.starts_with(b"<<")).then(|| spot.hosts([&*pattern]).authorization())
}

/// A user name that is shorter is not taken for a token.
const SHORTEST_TOKEN: usize = 20;
