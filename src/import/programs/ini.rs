//! Files of `key = value` lines in sections: `.pypirc`, `.aws/credentials`.

use super::spot::Spot;

/// A line with a value.
pub(super) struct Entry<'a> {
    pub(super) section: &'a str,
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// The lines with a value, in their order. A line that begins with a space goes on with the value of
/// the one before, which no key does.
pub(super) fn entries(content: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut section = "";
    content.lines().filter_map(move |line| {
        let text = line.trim();
        if let Some(name) = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            section = name.trim();
        }
        if text.starts_with(['#', ';', '[']) || line.starts_with([' ', '\t']) {
            return None;
        }
        let (key, value) = text.split_once('=')?;
        let (key, value) = (key.trim_end(), value.trim_start());
        Some(Entry {
            section,
            key,
            value,
        })
    })
}

/// The programs that read it send passwords in `Authorization: Basic`.
pub(super) fn pypirc(content: &str) -> Vec<Spot> {
    let of_section = |section: &str, key: &str| {
        let mut all = entries(content);
        all.find(|entry| entry.section == section && entry.key == key)
    };
    let passwords = entries(content).filter(|entry| entry.key == "password");
    let spots = passwords.map(|entry| {
        let repository = of_section(entry.section, "repository").map(|entry| entry.value);
        let host = match (repository, entry.section) {
            (Some(url), _) => host_of(url),
            (None, "pypi") => "upload.pypi.org",
            (None, "testpypi") => "test.pypi.org",
            (None, _) => "",
        };
        let spot = Spot::new(content, entry.value, entry.section, entry.value.as_bytes());
        spot.hosts([host]).authorization()
    });
    spots.collect()
}

/// The host of a URL, with its port, and with its scheme where that is http.
pub(super) fn host_of(url: &str) -> &str {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme == "http" {
        return &url[..scheme.len() + 3 + authority.len()];
    }
    authority
}

/// The secrets with which AWS programs sign requests.
pub(super) fn aws(content: &str) -> Vec<Spot> {
    let is_secret =
        |entry: &Entry<'_>| matches!(entry.key, "aws_secret_access_key" | "aws_session_token");
    let spots = entries(content).filter(is_secret).map(|entry| {
        let name = format!("aws-{}", entry.section);
        Spot::new(content, entry.value, &name, entry.value.as_bytes())
            .obstacle("programs sign requests with it, and cannot do so with a placeholder")
    });
    spots.collect()
}
