//! A key in a file, and how another text is written in its place.

use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::import::part::offset;
use crate::import::row::Row;
use crate::policy::grant::HostPattern;
use crate::policy::location::LocationRule;
use crate::secret::SecretBytes;
use crate::vault::Kind;

/// A key in a file of a program.
#[derive(Debug)]
pub struct Spot {
    /// What would be saved.
    pub row: Row,
    /// Why no placeholder can be in its place.
    pub obstacle: Option<&'static str>,
    /// What else has to be known.
    pub remark: Option<&'static str>,
    range: Range<usize>,
    form: Form,
}

/// How a text is written there.
#[derive(Debug)]
pub(super) enum Form {
    /// As it is.
    Plain,
    /// Between these quotes.
    Quoted(char),
    /// As a part of a URL (RFC 3986 section 3.2.1).
    Url,
    /// In base64.
    Base64,
    /// In base64, after a user name and a colon, and with what is around it.
    Basic { user: String, quotes: bool },
}

impl Spot {
    /// The key `value` of something called `name`, written in `part` of the file.
    pub(super) fn new(content: &str, part: &str, name: &str, value: &[u8]) -> Self {
        let start = offset(content, part);
        let line = 1 + content[..start].matches('\n').count();
        Self {
            row: Row {
                line,
                name: name.to_owned(),
                kind: Kind::Secret,
                value: SecretBytes::new(value.to_vec()),
                hosts: Vec::new(),
                locations: Vec::new(),
            },
            obstacle: None,
            remark: None,
            range: start..start + part.len(),
            form: Form::Plain,
        }
    }

    /// Under another name.
    pub(super) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.row.name);
        self
    }

    pub(super) fn form(self, form: Form) -> Self {
        Self { form, ..self }
    }

    pub(super) fn obstacle(self, obstacle: &'static str) -> Self {
        Self {
            obstacle: Some(obstacle),
            ..self
        }
    }

    pub(super) fn remark(self, remark: &'static str) -> Self {
        Self {
            remark: Some(remark),
            ..self
        }
    }

    /// For these hosts, as a file writes them: with a port or a scheme. What is no host is left out.
    pub(super) fn hosts<'a>(mut self, hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let patterns = hosts
            .into_iter()
            .filter_map(|host| host.parse::<HostPattern>().ok());
        self.row.hosts.extend(patterns);
        self
    }

    /// Sent in `Authorization`.
    pub(super) fn authorization(mut self) -> Self {
        let location = "header:authorization".parse::<LocationRule>();
        self.row.locations.extend(location);
        self
    }

    /// Where it is in the file.
    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Whether a placeholder is there already.
    pub fn is_placeholder(&self) -> bool {
        let value = self.row.value.expose();
        value.starts_with(b"<<") && value.ends_with(b">>")
    }

    /// Whether it is no key: nothing, or the name of a variable.
    pub(super) fn is_reference(&self) -> bool {
        let value = self.row.value.expose();
        let is_variable = value.starts_with(b"${") && value.ends_with(b"}");
        value.is_empty() || is_variable || value == b"x-oauth-basic"
    }

    /// `placeholder` as it is written there.
    fn written(&self, placeholder: &str) -> String {
        match &self.form {
            Form::Plain => placeholder.to_owned(),
            Form::Quoted(quote) => format!("{quote}{placeholder}{quote}"),
            Form::Url => placeholder.replace('<', "%3C").replace('>', "%3E"),
            Form::Base64 => BASE64_STANDARD.encode(placeholder),
            Form::Basic { user, quotes } => {
                let pair = BASE64_STANDARD.encode(format!("{user}:{placeholder}"));
                if *quotes { format!("\"{pair}\"") } else { pair }
            }
        }
    }
}

/// The file with a placeholder in each place for which there is one.
pub fn rewritten(content: &str, spots: &[(&Spot, String)]) -> String {
    spliced(content, 0..content.len(), spots)
}

/// The same for a part of the file, and the spots in it.
pub(super) fn spliced(content: &str, part: Range<usize>, spots: &[(&Spot, String)]) -> String {
    let mut spots: Vec<_> = spots.iter().collect();
    spots.sort_by_key(|(spot, _)| spot.range.start);
    let mut text = String::with_capacity(part.len());
    let mut at = part.start;
    for (spot, placeholder) in spots {
        text.push_str(&content[at..spot.range.start]);
        text.push_str(&spot.written(placeholder));
        at = spot.range.end;
    }
    text.push_str(&content[at..part.end]);
    text
}
