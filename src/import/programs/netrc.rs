//! `.netrc`: `machine`, `login` and `password`, in any order and on any number of lines.

use super::spot::Spot;

/// The words of the file, without comments and macros.
pub(super) fn words(content: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut is_macro = false;
    for line in content.lines() {
        if is_macro {
            // A macro ends with an empty line.
            is_macro = !line.trim().is_empty();
            continue;
        }
        let mut rest = line.trim_start();
        while !rest.is_empty() && !rest.starts_with('#') {
            let (word, after) = word(rest);
            is_macro |= word == "macdef";
            words.push(word);
            rest = after.trim_start();
        }
    }
    words
}

/// The first word, which may be in quotes, and what follows.
fn word(text: &str) -> (&str, &str) {
    if let Some(inner) = text.strip_prefix('"') {
        let mut is_escaped = false;
        for (index, char) in inner.char_indices() {
            if char == '"' && !is_escaped {
                return text.split_at(index + 2);
            }
            is_escaped = char == '\\' && !is_escaped;
        }
    }
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// What a word means: without its quotes and escapes.
fn plain(word: &str) -> String {
    let inner = word
        .strip_prefix('"')
        .and_then(|word| word.strip_suffix('"'));
    let Some(inner) = inner else {
        return word.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        let escaped = (char == '\\').then(|| chars.next()).flatten();
        text.push(match escaped {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(other) => other,
            None => char,
        });
    }
    text
}

pub(super) fn find(content: &str) -> Vec<Spot> {
    let words = words(content);
    let mut spots = Vec::new();
    let mut host = None;
    let mut login = None;
    let mut at = words.iter().copied();
    while let Some(word) = at.next() {
        match word {
            "machine" => (host, login) = (at.next(), None),
            "default" => (host, login) = (None, None),
            "login" => login = at.next(),
            "password" => {
                let Some(password) = at.next() else { break };
                // GitHub takes a token as the user name, too.
                let part = match login {
                    Some(login) if password == "x-oauth-basic" => login,
                    _ => password,
                };
                let name = host.unwrap_or("netrc-default");
                let spot = Spot::new(content, part, name, plain(part).as_bytes());
                spots.push(spot.hosts(host).authorization());
            }
            "account" | "macdef" => drop(at.next()),
            _ => {}
        }
    }
    spots
}
