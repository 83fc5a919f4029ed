//! Placeholders in a body, by its media type.

use std::sync::Arc;

pub use super::body_kind::{BodyKind, BodyProblem, classify};
pub use super::body_search::BodySearch;
use super::edit::Edit;
use super::stand_in::StandInSearch;

/// Finds the placeholders of a complete body.
pub fn find(kind: &BodyKind, body: &[u8]) -> Result<Vec<Edit>, BodyProblem> {
    find_with(kind, body, None)
}

/// The same, and its stand-ins.
pub fn find_with(
    kind: &BodyKind,
    body: &[u8],
    stand_ins: Option<&Arc<StandInSearch>>,
) -> Result<Vec<Edit>, BodyProblem> {
    let mut edits = Vec::new();
    let may_hold_stand_in = stand_ins.is_some_and(|search| search.may_be_in(body));
    if may_hold_stand_in && kind.is_searched() || kind.may_hold_placeholder(body) {
        let mut search = BodySearch::new(kind).with(stand_ins.cloned());
        search.push(body, &mut edits)?;
        search.finish(&mut edits)?;
    }
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(content_type: &str) -> BodyKind {
        classify(Some(content_type.as_bytes()))
    }

    /// What is found and where.
    fn shown(kind: &BodyKind, body: &[u8]) -> Vec<String> {
        let show = |edit: Edit| {
            format!(
                "{} in {} as {:?}",
                edit.reference, edit.location, edit.encoding
            )
        };
        find(kind, body).unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn types_are_told_apart() {
        for (content_type, expected) in [
            ("application/json", BodyKind::Json),
            ("Application/Vnd.API+JSON ; charset=utf-8", BodyKind::Json),
            ("application/x-ndjson", BodyKind::JsonLines),
            (
                "application/x-www-form-urlencoded;charset=UTF-8",
                BodyKind::Form,
            ),
            ("text/xml", BodyKind::Xml),
            ("application/soap+xml; charset=\"utf-8\"", BodyKind::Xml),
            ("text/plain;charset=UTF-8", BodyKind::Text),
            ("text/html", BodyKind::Text),
            ("application/graphql", BodyKind::Text),
            ("application/yaml", BodyKind::Text),
            ("Application/X-YAML; charset=utf-8", BodyKind::Text),
            ("application/openapi+yaml", BodyKind::Text),
            ("application/toml", BodyKind::Text),
            ("application/sql", BodyKind::Text),
            ("application/x-sh", BodyKind::Text),
            ("application/http", BodyKind::Http),
            ("message/rfc822", BodyKind::Text),
            ("message/http; version=1.1", BodyKind::Http),
            ("application/yaml; charset=utf-16", BodyKind::Wide),
            ("application/x-amz-json-1.1", BodyKind::Json),
            ("application/x-amz-cbor-1.1", BodyKind::Opaque),
            ("application/xml-dtd", BodyKind::Xml),
            ("application/x-pem-file", BodyKind::Text),
            ("application/vnd.oai.openapi;version=3.0", BodyKind::Text),
            ("application/connect+json", BodyKind::Envelopes),
            ("application/grpc-web+json", BodyKind::Envelopes),
            ("application/grpc+json; charset=utf-16", BodyKind::Envelopes),
            ("application/geo+json-seq", BodyKind::JsonLines),
            ("application/zip", BodyKind::Opaque),
            ("application/x-protobuf", BodyKind::Opaque),
            ("application/x-tar", BodyKind::Opaque),
            ("video/mp4", BodyKind::Opaque),
            ("", BodyKind::Text),
            ("json", BodyKind::Text),
            ("multipart/form-data", BodyKind::Text),
            (
                "multipart/form-data; boundary=a; boundary=b",
                BodyKind::Ambiguous,
            ),
            (
                "multipart/mixed; boundary*=UTF-8''a; boundary=b",
                BodyKind::Ambiguous,
            ),
            (
                "multipart/mixed; boundary*0=a; boundary*1=b",
                BodyKind::Ambiguous,
            ),
            ("application/json, text/plain", BodyKind::Ambiguous),
            (
                "multipart/mixed; boundary=\"a b\"",
                BodyKind::Multipart {
                    boundary: b"a b".to_vec(),
                },
            ),
            ("application/json; charset=utf-16", BodyKind::Wide),
            ("text/plain; charset=UTF-32LE", BodyKind::Wide),
            ("application/octet-stream", BodyKind::Opaque),
            ("application/grpc", BodyKind::Opaque),
            ("image/png; charset=utf-16", BodyKind::Opaque),
        ] {
            assert_eq!(kind(content_type), expected, "{content_type}");
        }
        assert_eq!(classify(None), BodyKind::Text);
        assert!(classify(None).is_scanned() && !BodyKind::Opaque.is_scanned());
    }

    #[test]
    fn json_has_pointers_only_if_it_is_valid() {
        assert_eq!(
            shown(
                &BodyKind::Json,
                b"\xef\xbb\xbf{\"a\":[{\"b/c\":\"x \\u003c<gh>\\u003E\"}], \"<<k>>\": 1}"
            ),
            ["gh in body:/a/0/b~1c as Json", "k in body as Json"]
        );
        for broken in [
            &b"{\"a\":\"<<gh>>\"}}"[..],
            b"{\"a\":\"<<gh>>\"",
            b"{\"a\":\"<<gh>>\"}\n{\"a\":1}",
            b"{\"a\":\"<<gh>>\",\"b\":<<gh>>}",
            b"{\"a\":\"<<gh>>\xff\"}",
            b"\"<<gh>>\"",
        ] {
            assert_eq!(
                shown(&BodyKind::Json, broken)[0],
                "gh in body as Json",
                "{broken:?}"
            );
        }
        assert_eq!(
            shown(&BodyKind::JsonLines, b"{\"a\":\"<<gh>>\"}"),
            ["gh in body as Json"]
        );
    }

    #[test]
    fn a_form_names_its_fields() {
        assert_eq!(
            shown(
                &BodyKind::Form,
                b"a=1&client%5Fsecret=%3C%3Cgh%3E%3E&<<k>>=v"
            ),
            [
                "gh in body:client_secret as FormUrl",
                "k in body as FormUrl"
            ]
        );
    }

    #[test]
    fn xml_is_read_raw_inside_cdata() {
        assert_eq!(
            shown(
                &BodyKind::Xml,
                b"<a>&lt;&#60;x&gt;&#x3E;<![CDATA[&lt;&lt;y&gt;&gt; <<z>>]]><<w>></a>"
            ),
            ["x in body as Xml", "z in body as Cdata", "w in body as Xml"]
        );
    }

    #[test]
    fn binary_is_not_scanned() {
        assert!(shown(&BodyKind::Opaque, b"\x89PNG <<gh>>").is_empty());
    }

    #[test]
    fn a_placeholder_in_wide_text_is_a_problem_and_wide_text_is_not() {
        let utf16 = |text: &str, swap: bool| -> Vec<u8> {
            let order = |unit: u16| {
                if swap {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            };
            text.encode_utf16().flat_map(order).collect()
        };
        let utf32 = |text: &str| -> Vec<u8> {
            text.chars()
                .flat_map(|c| u32::from(c).to_be_bytes())
                .collect()
        };
        let json = "{\"é\":\"\\u003c<gh>>\"}";
        for wide in [
            utf16(json, false),
            utf16(json, true),
            utf32(json),
            utf16(&format!("\u{feff}{json}"), false),
        ] {
            for kind in [BodyKind::Wide, BodyKind::Json] {
                assert_eq!(find(&kind, &wide), Err(BodyProblem::Wide));
            }
        }
        assert_eq!(
            find(&BodyKind::Wide, &utf16("{\"k\":\"<<EOF\"}", true)),
            Ok(Vec::new())
        );
        // Text may begin with a zero byte and still be read byte by byte.
        assert_eq!(shown(&BodyKind::Text, b"\0<<gh>>"), ["gh in body as Raw"]);
    }
}
