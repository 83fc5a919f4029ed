//! Placeholders in the head of a request, with their locations.

use std::sync::Arc;

use crate::policy::location::Location;

use super::edit::Edit;
use super::encoding::Encoding;
use super::form::FormTracker;
use super::inner_text::InnerText;
use super::placeholder::scan_with;
use super::stand_in::StandInSearch;

/// Finds the placeholders of a path, as the request line has it.
pub fn in_path(path: &str, stand_ins: Option<&StandInSearch>) -> Vec<Edit> {
    nested(Encoding::Percent, path.as_bytes(), stand_ins, |_| {
        Location::Path
    })
}

/// Finds the placeholders of a query, without its question mark. The location carries the decoded
/// name of the parameter whose value contains the placeholder. It is empty, and so equal to no name
/// in a rule, where the placeholder is part of a name or the name exceeds 512 bytes.
pub fn in_query(query: &str, stand_ins: Option<&StandInSearch>) -> Vec<Edit> {
    let bytes = query.as_bytes();
    let mut pairs = FormTracker::default();
    let mut read = 0;
    nested(Encoding::Percent, bytes, stand_ins, |at| {
        pairs.advance(&bytes[read..at]);
        read = at;
        Location::Query(pairs.name().unwrap_or_default().to_owned())
    })
}

/// Finds placeholders, each with how deep in JSON it is. `location` is asked at the start of each.
fn nested(
    encoding: Encoding,
    bytes: &[u8],
    stand_ins: Option<&StandInSearch>,
    mut location: impl FnMut(usize) -> Location,
) -> Vec<Edit> {
    let mut inner = InnerText::new(encoding);
    let mut read = 0;
    let mut edits = Vec::new();
    for token in scan_with(encoding, bytes, stand_ins) {
        inner.advance(encoding, &bytes[read..token.span.start]);
        read = token.span.start;
        let nesting = inner.nesting();
        if nesting.reads(token.depth) {
            read = token.span.end;
            inner.pass_placeholder();
            let location = location(token.span.start);
            edits.push(Edit::new(token, encoding, location).nested(nesting));
        }
    }
    edits
}

/// Finds the placeholders of a header value. `name` is in lower case. Basic credentials have to be
/// decoded first: see [`Basic`](super::basic::Basic).
pub fn in_header(name: &str, value: &[u8], stand_ins: Option<&StandInSearch>) -> Vec<Edit> {
    let location: Arc<str> = name.into();
    nested(Encoding::Header, value, stand_ins, |_| {
        Location::Header(Arc::clone(&location))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(edits: &[Edit]) -> Vec<String> {
        let show =
            |edit: &Edit| format!("{} at {:?} in {}", edit.reference, edit.span, edit.location);
        edits.iter().map(show).collect()
    }

    #[test]
    fn a_query_names_the_decoded_parameter() {
        assert_eq!(
            shown(&in_query("z=%2f&api%5fkey=x%3C<gh%3e>&b=<<tok>>", None)),
            ["gh at 17..27 in query:api_key", "tok at 30..37 in query:b"]
        );
    }

    #[test]
    fn in_a_query_no_rule_names_what_stands_in_a_name() {
        for query in ["<<gh>>", "<<gh>>=x", "api_key<<gh>>=x", "a=1&<<gh>>"] {
            assert_eq!(
                in_query(query, None)[0].location,
                Location::Query(String::new()),
                "{query}"
            );
        }
        let endless = format!("{}=<<gh>>", "n".repeat(513));
        assert_eq!(
            in_query(&endless, None)[0].location,
            Location::Query(String::new())
        );
    }

    #[test]
    fn a_path_is_one_place() {
        assert_eq!(
            shown(&in_path("/bot%3c%3Cgh>>/x/<<a.b>>", None)),
            ["gh at 4..14 in path", "a.b at 17..24 in path"]
        );
    }

    #[test]
    fn a_header_is_read_raw() {
        assert_eq!(
            shown(&in_header("x-key", b"\xff <<gh>>:%3C%3Cgh%3E%3E", None)),
            ["gh at 2..8 in header:x-key"]
        );
        assert!(in_header("x-key", b"<<g", None).is_empty());
    }
}
