//! The fields of a form.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};

use http::header;

use super::failure::Failure;
use super::multipart::{self, Part};
use super::text;
use crate::admin::{AdminContext, AdminProblem, Trouble};
use crate::secret::SecretBytes;

/// How the name of a field ends that is a file.
const FILE: &str = "_file";
/// Fields that are typed again after a sign-in.
const NOT_KEPT: [&str; 7] = [
    "value", "username", "password", "revision", "sure", "typed", "done",
];
/// Longest query string that brings back what was typed. The head of a request has a limit.
const LONGEST_QUERY: usize = 8 * 1024;
/// Most fields of a form. An import has two for each of its 500 entries, and others thirty.
const MOST: usize = 1_100;

/// The fields of a form as they were sent. Not `Debug`: one of them can be a value.
pub(super) struct Fields(Vec<(String, String)>, Vec<Part>);

impl Fields {
    /// Of a query string or the body of a form.
    pub(super) fn parse(text: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(text).take(MOST);
        Self(
            pairs
                .map(|(n, v)| (n.into_owned(), v.into_owned()))
                .collect(),
            Vec::new(),
        )
    }

    /// Of the parts of a form with files: what has the name of a file is bytes.
    fn of_parts(parts: Vec<Part>) -> Self {
        let is_file = |(name, _): &Part| name.ends_with(FILE);
        let (files, texts): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_file);
        let text = |(name, bytes): Part| (name, String::from_utf8_lossy(&bytes).into_owned());
        Self(texts.into_iter().map(text).collect(), files)
    }

    /// Takes a file out, without one line end after it. `None` if there is none, or an empty one.
    fn take_file(&mut self, name: &str) -> Option<SecretBytes> {
        let is_it = |(known, _): &Part| known.strip_suffix(FILE) == Some(name);
        let at = self.1.iter().position(is_it)?;
        let (_, mut bytes) = self.1.swap_remove(at);
        if bytes.pop_if(|&mut byte| byte == b'\n').is_some() {
            bytes.pop_if(|&mut byte| byte == b'\r');
        }
        (!bytes.is_empty()).then(|| SecretBytes::new(bytes))
    }

    /// The first field of this name; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The same, without white space around it.
    pub(super) fn trimmed(&self, name: &str) -> &str {
        self.text(name).trim()
    }

    /// The same, unless it is empty.
    pub(super) fn given(&self, name: &str) -> Option<String> {
        Some(self.trimmed(name).to_owned()).filter(|text| !text.is_empty())
    }

    /// Whether there is a field of this name, empty or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Whether a box is ticked.
    pub(super) fn is_ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// Takes a value out. A browser sends line ends as CR LF, whatever was pasted, and a key in PEM has
    /// LF. One line end after it is removed, as by the commands; nothing else is. Where nothing was
    /// pasted, a file counts, as it is.
    pub(super) fn take_value(&mut self, name: &str) -> SecretBytes {
        let pasted = self.take_pasted(name);
        match self.take_file(name) {
            Some(file) if pasted.is_empty() => file,
            _ => pasted,
        }
    }

    fn take_pasted(&mut self, name: &str) -> SecretBytes {
        let at = self.0.iter().position(|(known, _)| known == name);
        let text = at.map(|at| self.0.swap_remove(at).1).unwrap_or_default();
        let mut bytes = Vec::with_capacity(text.len());
        let mut before = 0;
        for byte in text.bytes() {
            if byte == b'\n' && before == b'\r' {
                bytes.pop();
            }
            bytes.push(byte);
            before = byte;
        }
        // The allocator wipes what is freed, so nothing is left of the text.
        drop(text);
        bytes.pop_if(|&mut byte| byte == b'\n');
        SecretBytes::new(bytes)
    }

    /// The items of a field, separated by commas, spaces or lines.
    pub(super) fn items(&self, name: &str) -> impl Iterator<Item = &str> {
        let text = self.text(name);
        text.split([',', ' ', '\n', '\r', '\t'])
            .filter(|item| !item.is_empty())
    }

    /// The items of a field, one in each line.
    pub(super) fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.text(name).lines();
        lines.map(str::trim).filter(|line| !line.is_empty())
    }

    /// The address of a page whose form is filled in with what was typed. A value never is in it, nor
    /// what belongs to the moment: the revision, and a yes. What is too long for an address is left out.
    pub(super) fn back_to(&self, page: &str) -> String {
        let path = page.split('?').next().unwrap_or_default();
        let pairs = self.0.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs: Vec<_> = pairs.filter(|(name, _)| !NOT_KEPT.contains(name)).collect();
        let query = text::query(&pairs);
        match query.len() {
            1..=LONGEST_QUERY => format!("{path}?{query}"),
            _ => path.to_owned(),
        }
    }
}

impl FromRequest<AdminContext> for Fields {
    type Rejection = Failure;

    async fn from_request(request: Request, context: &AdminContext) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let body = Bytes::from_request(request, context).await;
        let body = body.map_err(|_| {
            AdminProblem::because(Trouble::TooLarge, "The form is longer than 512 KiB.")
        })?;
        let parts = kind.and_then(|kind| multipart::parse(&kind, &body, MOST));
        Ok(parts.map_or_else(|| Self::parse(&body), Self::of_parts))
    }
}

/// What is wrong with fields, for the form that is shown again.
#[derive(Debug, Default)]
pub(super) struct Wrong(Vec<(&'static str, Cow<'static, str>)>);

impl Wrong {
    /// Adds what is wrong with a field. The message never has what was typed.
    pub(super) fn add(&mut self, field: &'static str, message: impl Into<Cow<'static, str>>) {
        self.0.push((field, message.into()));
    }

    /// Whether all is well.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong with a field; empty if nothing is.
    pub(super) fn of(&self, field: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| *known == field);
        found.map_or("", |(_, message)| message)
    }

    /// Everything that is wrong: the field, its name for people, and what it is.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, String, &str)> {
        let wrong = self.0.iter();
        wrong.map(|(field, message)| (*field, label(field), &**message))
    }

    /// Reads items, and says of the first that is wrong which one it is. Not for values.
    pub(super) fn read<T: FromStr<Err: Display>>(
        &mut self,
        field: &'static str,
        items: impl Iterator<Item: AsRef<str>>,
    ) -> Vec<T> {
        self.read_with(field, items, str::parse)
    }

    /// Reads one text, unless it is empty. Not for values.
    pub(super) fn read_one<T: FromStr<Err: Display>>(
        &mut self,
        field: &'static str,
        text: &str,
    ) -> Option<T> {
        let text = Some(text).filter(|text| !text.is_empty())?;
        let read = text.parse();
        read.map_err(|error: T::Err| self.add(field, error.to_string()))
            .ok()
    }

    /// [`Wrong::read`] with a function of its own.
    pub(super) fn read_with<T, E: Display>(
        &mut self,
        field: &'static str,
        items: impl Iterator<Item: AsRef<str>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut read = Vec::new();
        for (at, item) in items.enumerate() {
            match parse(item.as_ref()) {
                Ok(item) => read.push(item),
                // The item is not repeated: a value may have been pasted into the wrong field.
                Err(error) => {
                    self.add(field, format!("item {}: {error}", at + 1));
                    break;
                }
            }
        }
        read
    }
}

/// What the forms call fields whose name in the request says it less well.
const LABELS: [(&str, &str); 9] = [
    ("approve", "Ask me"),
    ("copies", "Copies in one request"),
    ("display_name", "Name for people"),
    ("locations", "Places"),
    ("max_uses", "At most"),
    ("rotate_every", "Replace every"),
    ("subject", "Whom"),
    ("url", "URL"),
    ("value_file", "File"),
];

/// The name of a field for people.
pub(super) fn label(field: &str) -> String {
    if let Some((_, label)) = LABELS.iter().find(|(known, _)| *known == field) {
        return (*label).to_owned();
    }
    let words = field.replace('_', " ");
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_the_name_that_its_form_shows() {
        for (field, shown) in [
            ("locations", "Places"),
            ("rotate_every", "Replace every"),
            ("display_name", "Name for people"),
            ("", ""),
        ] {
            assert_eq!(label(field), shown);
        }
    }

    #[test]
    fn a_value_keeps_its_lines_and_loses_one_line_end() {
        let value = |text: &str| {
            let body = format!("x=1&value={}", super::super::text::encoded(text));
            let mut fields = Fields::parse(body.as_bytes());
            let value = fields.take_value("value").expose().to_vec();
            assert_eq!(fields.text("value"), "");
            value
        };
        assert_eq!(value("-----BEGIN\r\nabc\r\n"), b"-----BEGIN\nabc");
        assert_eq!(value(" kept \r\n\r\n"), b" kept \n");
        assert_eq!(value("a\rb"), b"a\rb");
        assert_eq!(value(""), b"");
    }

    #[test]
    fn a_file_counts_where_nothing_was_pasted() {
        let value = |pasted: &str, file: &[u8]| {
            let part = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
            let parts = vec![part("value", pasted.as_bytes()), part("value_file", file)];
            Fields::of_parts(parts)
                .take_value("value")
                .expose()
                .to_vec()
        };
        assert_eq!(value("", b"a\r\nb\xff\r\n"), b"a\r\nb\xff");
        assert_eq!(value("pasted", b"file"), b"pasted");
        assert_eq!(value("", b""), b"");
    }

    #[test]
    fn what_was_typed_leads_back_and_a_value_does_not() {
        let fields = Fields::parse(b"hosts=a+b&value=hunter2&password=x&sure=yes&methods=");
        assert_eq!(fields.back_to("/limits?done=x"), "/limits?hosts=a%20b");
        let long = format!("hosts={}", "a".repeat(LONGEST_QUERY));
        assert_eq!(Fields::parse(long.as_bytes()).back_to("/limits"), "/limits");
        assert_eq!(Fields::parse(b"").back_to("/limits"), "/limits");
    }

    #[test]
    fn what_is_wrong_is_said_without_what_was_typed() {
        let mut wrong = Wrong::default();
        let items = ["GET", "hunter2 hunter2"].into_iter();
        let read = wrong.read_with("methods", items, crate::policy::grant::parse_method);
        assert_eq!(read, ["GET"]);
        assert!(wrong.of("methods").starts_with("item 2: "));
        assert!(!wrong.of("methods").contains("hunter2"));
    }
}
