//! Properties of the whole: find, then splice, then parse as the receiver would.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use crate::policy::location::{BodyField, Location};
use crate::secret::SecretBytes;

use super::basic::Basic;
use super::body::{self, BodyKind, BodyProblem};
use super::body_scanner::BodyScanner;
use super::edit::Edit;
use super::encoding::Encoding;
use super::find;
use super::slug::{Field, Reference, Slug};
use super::splice::splice;
use super::stream::{BodyStream, StreamError, StreamStep};

fn reference() -> impl Strategy<Value = Reference> {
    (
        "[a-z][a-z0-9_-]{0,63}",
        prop::option::of("[a-z][a-z0-9_]{0,31}"),
    )
        .prop_map(|(slug, field)| Reference {
            slug: Slug::parse(&slug).unwrap(),
            field: field.map(|field| Field::parse(&field).unwrap()),
        })
}

/// Every way in which `encoding` can write one character of the grammar.
fn spellings(encoding: Encoding, c: char) -> Vec<String> {
    let code = u32::from(c);
    let mut spellings = vec![c.to_string()];
    match encoding {
        Encoding::Percent | Encoding::FormUrl | Encoding::BasicForm => {
            spellings.extend([format!("%{code:02x}"), format!("%{code:02X}")]);
        }
        Encoding::Json | Encoding::Message => {
            spellings.extend([format!("\\u{code:04x}"), format!("\\u{code:04X}")])
        }
        Encoding::Xml => {
            spellings.extend([
                format!("&#{code};"),
                format!("&#0{code};"),
                format!("&#x{code:x};"),
                format!("&#x{code:X};"),
            ]);
            match c {
                '<' => spellings.push("&lt;".to_owned()),
                '>' => spellings.push("&gt;".to_owned()),
                _ => {}
            }
        }
        Encoding::Raw | Encoding::Header | Encoding::BasicUser | Encoding::Cdata => {}
    }
    spellings
}

/// A placeholder, every character of it written in some way.
fn spelled(encoding: Encoding, text: &str, choice: &[prop::sample::Index]) -> String {
    let choice = choice.iter().cycle();
    text.chars()
        .zip(choice)
        .map(|(c, choice)| choice.get(&spellings(encoding, c)).clone())
        .collect()
}

fn choice() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 1..40)
}

/// Values that put the encodings to the test.
fn value() -> impl Strategy<Value = String> {
    let hard = prop::sample::select(vec![
        "<<gh>>", "<<a>>", "\"", "\\", "\n", "\r", "\t", "&", "=", "+", "%3C", "/", "?", "#", " ",
        "'", "<", ">", "]]>", "\\u003c", "&lt;", "é", "🔑", "--B", "0", ";", ":", "\u{7f}", "41",
        "3Cb", "lt;",
    ]);
    prop_oneof![
        prop::collection::vec(hard, 1..6).prop_map(|parts| parts.concat()),
        "\\PC{1,12}"
    ]
}

fn put(source: &[u8], edits: &[Edit], value: &str) -> Option<Vec<u8>> {
    let value = SecretBytes::new(value.as_bytes().to_vec());
    splice(source, edits, |_| Some(&value)).ok()
}

fn put_in_body(kind: &BodyKind, source: &str, value: &str) -> Option<Vec<u8>> {
    let edits = body::find(kind, source.as_bytes()).unwrap();
    assert!(!edits.is_empty(), "{source}");
    put(source.as_bytes(), &edits, value)
}

proptest! {
    #[test]
    fn every_spelling_of_a_placeholder_is_found(reference in reference(), escape: bool, choice in choice()) {
        let mark = if escape { "!" } else { "" };
        for encoding in Encoding::ALL {
            let text = spelled(encoding, &format!("<<{mark}{reference}>>"), &choice);
            let tokens = super::placeholder::scan(encoding, format!("<{text}>").as_bytes());
            prop_assert_eq!(tokens.len(), 1, "{:?} {}", encoding, text);
            prop_assert_eq!(&tokens[0].span, &(1..text.len() + 1));
            prop_assert_eq!(tokens[0].escape, escape);
            prop_assert_eq!(&tokens[0].reference, &reference);
        }
    }

    #[test]
    fn json_gives_the_value_back(value in value(), choice in choice(), key in "\\PC{0,5}") {
        let key = serde_json::to_string(&key).unwrap();
        let source = format!("{{{key}: [\"a{}\\\\\", 1]}}", spelled(Encoding::Json, "<<gh>>", &choice));
        let out = put_in_body(&BodyKind::Json, &source, &value).unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let key: String = serde_json::from_str(&key).unwrap();
        prop_assert_eq!(&parsed[&key][0], &serde_json::Value::from(format!("a{value}\\")));
        prop_assert_eq!(&parsed[&key][1], &serde_json::Value::from(1));
    }

    /// JSON alone, before SignalR's separator, after Socket.IO's number; and plain text.
    #[test]
    fn a_message_gives_the_value_back(value in value(), choice in choice()) {
        let placeholder = spelled(Encoding::Message, "<<gh>>", &choice);
        for (before, after) in [("", ""), ("", "\u{1e}"), ("42", "")] {
            let source = format!("{before}[\"a{placeholder}\\\\\"]{after}");
            let out = String::from_utf8(put_in_body(&BodyKind::Message, &source, &value).unwrap()).unwrap();
            let json = out.strip_prefix(before).unwrap().strip_suffix(after).unwrap();
            let parsed: Vec<String> = serde_json::from_str(json).unwrap();
            prop_assert_eq!(parsed, [format!("a{value}\\")]);
        }
        let source = format!("AUTH \\{} \"{placeholder}", "<<gh>>");
        let out = put_in_body(&BodyKind::Message, &source, &value).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), format!("AUTH \\{value} \"{value}"));
    }

    #[test]
    fn a_json_pointer_leads_to_the_placeholder(value in super::json::tests::json_value(), at in any::<prop::sample::Index>()) {
        // Some string of the document becomes the placeholder.
        let strings = value.to_string().matches("\"").count();
        let text = value.to_string();
        let quote = text.match_indices('"').nth(at.index(strings.max(1))).map(|(at, _)| at + 1);
        if let Some(quote) = quote {
            let source = format!("{}<<gh>>{}", &text[..quote], &text[quote..]);
            let edits = body::find(&BodyKind::Json, source.as_bytes()).unwrap();
            if let Some(Location::Body(BodyField::Pointer(pointer))) = edits.first().map(|edit| &edit.location) {
                let parsed: serde_json::Value = serde_json::from_str(&source).unwrap();
                let found = parsed.pointer(pointer).and_then(|found| found.as_str()).unwrap_or_default();
                prop_assert!(found.contains("<<gh>>"), "{} in {}", pointer, source);
            }
        }
    }

    #[test]
    fn a_form_gives_the_value_back(value in value(), choice in choice(), begun in "|%|%4|%4g|%%") {
        let source = format!("a=b&k={begun}{}x&c=%20", spelled(Encoding::FormUrl, "<<gh>>", &choice));
        let out = put_in_body(&BodyKind::Form, &source, &value).unwrap();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(&out).into_owned().collect();
        let expected = [("a", "b".to_owned()), ("k", format!("{begun}{value}x")), ("c", " ".to_owned())];
        prop_assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_query_gives_the_value_back(value in value(), choice in choice()) {
        let source = format!("a=b&k={}", spelled(Encoding::Percent, "<<gh>>", &choice));
        let out = put(source.as_bytes(), &find::in_query(&source, None), &value).unwrap();
        let found = form_urlencoded::parse(&out).into_owned().nth(1);
        prop_assert_eq!(found, Some(("k".to_owned(), value)));
    }

    #[test]
    fn a_path_keeps_its_segments(value in value(), choice in choice()) {
        prop_assume!(value.contains(|c| c != '.'));
        let source = format!("/a/{}x/b", spelled(Encoding::Percent, "<<gh>>", &choice));
        let out = put(source.as_bytes(), &find::in_path(&source, None), &value).unwrap();
        let out = String::from_utf8(out).unwrap();
        let segments: Vec<&str> = out.split('/').collect();
        prop_assert_eq!(segments.len(), 4);
        prop_assert!(!out.contains(['?', '#', '<', ' ']));
        // A form parser decodes percent; a plus sign would have been percent-encoded.
        let pair = format!("k={}", segments[2]);
        let found = form_urlencoded::parse(pair.as_bytes()).into_owned().next();
        prop_assert_eq!(found, Some(("k".to_owned(), format!("{value}x"))));
    }

    #[test]
    fn xml_gives_the_value_back_or_refuses(value in value(), choice in choice()) {
        let placeholder = spelled(Encoding::Xml, "<<gh>>", &choice);
        let source = format!("<a k=\"{placeholder}\">{placeholder}<![CDATA[a<<gh>>b]]></a>");
        if let Some(out) = put_in_body(&BodyKind::Xml, &source, &value) {
            let (attribute, text) = read_xml(std::str::from_utf8(&out).unwrap());
            prop_assert_eq!(&attribute, &value);
            prop_assert_eq!(text, format!("{value}a{value}b"));
        } else {
            let cdata = value.contains("]]>") || value.contains('\r') || value.starts_with(['>', ']']) || value.ends_with(']');
            let illegal = value.contains(|c: char| c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}'));
            prop_assert!(cdata || illegal, "{}", value);
        }
    }

    #[test]
    fn basic_credentials_give_the_value_back(value in value(), user in "[a-z]{0,4}") {
        use base64::Engine as _;
        let header = format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:<<gh>>")));
        let basic = Basic::parse(header.as_bytes()).unwrap();
        let spliced = put(basic.decoded(), &basic.edits(None), &value).unwrap();
        let again = Basic::parse(&basic.render(&spliced)).unwrap();
        let expected = format!("{user}:{value}");
        prop_assert_eq!(again.decoded(), expected.as_bytes());
    }

    #[test]
    fn bytes_without_placeholders_leave_as_they_came(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for kind in kinds() {
            let edits = body::find(&kind, &bytes).unwrap();
            prop_assert_eq!(put(&bytes, &edits, "value").unwrap(), bytes.clone());
        }
    }

    #[test]
    fn a_body_in_pieces_is_read_like_the_whole(
        (kind, source) in any_body(),
        cuts in prop::collection::vec(1usize..9, 1..30),
    ) {
        let source = source.as_bytes();
        let whole = BodyScanner::new(&kind).read(source, true).map(|decided| decided.edits);
        prop_assert_eq!(read_in_pieces(&kind, source, &cuts), whole);
    }

    #[test]
    fn a_stream_writes_what_the_held_body_would(
        (kind, source) in any_body(),
        values in prop::array::uniform3(value()),
        cuts in prop::collection::vec(1usize..9, 1..30),
    ) {
        let values = Values::new(values);
        let streamed = values.streamed(&kind, source.as_bytes(), &cuts);
        let edits = body::find(&kind, source.as_bytes()).unwrap_or_default();
        if edits.iter().any(|edit| edit.encoding == Encoding::Message) {
            // Held, a message is known not to be JSON before its first value is written.
            prop_assert_eq!(streamed, values.streamed(&kind, source.as_bytes(), &[usize::MAX]));
            return Ok(());
        }
        let held = values.held(&kind, source.as_bytes());
        match held {
            Some(held) => prop_assert_eq!(
                streamed.map(|out| String::from_utf8_lossy(&out).into_owned()),
                Ok(String::from_utf8_lossy(&held).into_owned())
            ),
            None => prop_assert!(streamed.is_err()),
        }
    }
}

/// The attribute `k` and the text of a document of one element.
fn read_xml(document: &str) -> (String, String) {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(document);
    let (mut attribute, mut text) = (String::new(), String::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                let found = start.try_get_attribute("k").unwrap().unwrap();
                attribute = found
                    .normalized_value(quick_xml::XmlVersion::Explicit1_0)
                    .unwrap()
                    .into_owned();
            }
            Event::Text(found) => text.push_str(&found.xml10_content()),
            Event::CData(found) => text.push_str(&found.xml10_content()),
            Event::GeneralRef(found) => match found.resolve_char_ref().unwrap() {
                Some(c) => text.push(c),
                None => {
                    text.push_str(quick_xml::escape::resolve_predefined_entity(&found).unwrap())
                }
            },
            Event::Eof => return (attribute, text),
            _ => {}
        }
    }
}

fn read_in_pieces(
    kind: &BodyKind,
    source: &[u8],
    cuts: &[usize],
) -> Result<Vec<Edit>, BodyProblem> {
    let mut scanner = BodyScanner::new(kind);
    let mut edits = Vec::new();
    let (mut start, mut end) = (0, 0);
    for cut in cuts.iter().cycle() {
        end = source.len().min(end + cut);
        let decided = scanner.read(&source[start..end], end == source.len())?;
        edits.extend(decided.edits.into_iter().map(|mut edit| {
            edit.span = edit.span.start + start..edit.span.end + start;
            edit
        }));
        start += decided.len;
        if end == source.len() {
            break;
        }
    }
    assert_eq!(start, source.len(), "everything is decided at the end");
    Ok(edits)
}

fn kinds() -> [BodyKind; 9] {
    let multipart = BodyKind::Multipart {
        boundary: b"B".to_vec(),
    };
    [
        BodyKind::Json,
        BodyKind::JsonLines,
        BodyKind::Form,
        BodyKind::Xml,
        BodyKind::Text,
        BodyKind::Message,
        BodyKind::Wide,
        BodyKind::Opaque,
        multipart,
    ]
}

const PLACEHOLDERS: [&str; 12] = [
    "<<a>>",
    "<<b>>",
    "<<c.f>>",
    "<<!a>>",
    "<",
    "<<",
    ">>",
    "%3C%3ca>>",
    "\\u003c<a\\u003E>",
    "&lt;&#60;b&gt;>",
    "\\",
    "%3",
];

/// What bodies of this kind are made of.
fn fragments(kind: &BodyKind) -> Vec<&'static str> {
    let own: &[&str] = match kind {
        BodyKind::Json | BodyKind::JsonLines => {
            &["{\"k\":\"", "\"", ",", "}", "[", "]", "\u{feff}", "1"]
        }
        BodyKind::Message => &[
            "{\"k\":\"",
            "\"}",
            "[\"",
            "\"]",
            "\u{1e}",
            "\n",
            "42",
            "text",
        ],
        BodyKind::Form => &["k=", "&", "=", "+", "%20"],
        BodyKind::Xml => &[
            "<a>",
            "<![CDATA[",
            "]]>",
            "]",
            "<!--",
            "-->",
            "<?",
            "?>",
            "&amp;",
            "<!",
        ],
        BodyKind::Multipart { .. } => &[
            "\r\n--B\r\n",
            "--B\r\n",
            "\r\n--B--\r\n",
            "\n--B\n",
            "\r\n--BB\r\n",
            "--B",
            "\r\n--BB--\r\n",
            "\r\n\r\n",
            "\r\n",
            "\n",
            "\r",
            "-",
            "--",
            "B",
            "Content-Disposition: form-data; name=\"k\"\r\n",
            "Content-Type: application/json\r\n\r\n",
            "Content-Type: application/xml\r\n\r\n<![CDATA[",
            "]]>",
            "Content-Type: image/png\r\n\r\n",
            "Content-Type: multipart/mixed; boundary=BB\r\n\r\n",
            "Content-Transfer-Encoding: base64\r\n",
        ],
        BodyKind::Text
        | BodyKind::Http
        | BodyKind::Ambiguous
        | BodyKind::Envelopes
        | BodyKind::Wide
        | BodyKind::Opaque => &["text", "\n"],
    };
    [own, own, &PLACEHOLDERS].concat()
}

/// Bodies near those of their kind: fragments in random order.
fn any_body() -> impl Strategy<Value = (BodyKind, String)> {
    let disordered = prop::sample::select(kinds().to_vec()).prop_flat_map(|kind| {
        prop::collection::vec(prop::sample::select(fragments(&kind)), 0..24)
            .prop_map(move |fragments| (kind.clone(), fragments.concat()))
    });
    prop_oneof![3 => disordered, 1 => multipart()]
}

/// Multipart bodies in good order, with parts of several types and nested ones.
fn multipart() -> impl Strategy<Value = (BodyKind, String)> {
    let head = prop::sample::select(vec![
        "",
        "Content-Disposition: form-data; name=\"k\"\r\n",
        "Content-Type: application/json\r\n",
        "Content-Type: image/png\r\n",
        "Content-Type: text/xml\r\n",
    ]);
    let content = prop::sample::select(vec![
        "",
        "<<a>>",
        "x\\u003c<b>>",
        "<![CDATA[<<c>>]]>&lt;<a>>",
        "\r\n--",
        "--BA\r\n<<a>>",
    ]);
    let end = prop::sample::select(vec!["\r\n", "\n", "--\r\n", " \t\r\n"]);
    let part = (any::<bool>(), end, head, content).prop_map(|(nested, end, head, content)| {
        let boundary = if nested { "BB" } else { "B" };
        format!("\r\n--{boundary}{end}{head}\r\n{content}")
    });
    let opening = prop::sample::select(vec![
        "",
        "\r\n--B\r\nContent-Type: multipart/mixed; boundary=BB\r\n\r\n",
    ]);
    let opened = (opening, prop::collection::vec(part, 0..4))
        .prop_map(|(opening, parts)| opening.to_owned() + &parts.concat());
    prop::collection::vec(opened, 0..3).prop_map(|parts| {
        (
            BodyKind::Multipart {
                boundary: b"B".to_vec(),
            },
            parts.concat(),
        )
    })
}

/// The values of the placeholders of [`any_body`].
struct Values([Arc<SecretBytes>; 3]);

impl Values {
    fn new(values: [String; 3]) -> Self {
        Self(values.map(|value| Arc::new(SecretBytes::new(value.into_bytes()))))
    }

    /// Any slug has a value: fragments can make up new ones.
    fn of(&self, reference: &Reference) -> &Arc<SecretBytes> {
        &self.0[usize::from(reference.slug.as_str().as_bytes()[0]) % 3]
    }

    fn held(&self, kind: &BodyKind, source: &[u8]) -> Option<Vec<u8>> {
        let edits = body::find(kind, source).ok()?;
        splice(source, &edits, |reference| {
            Some(self.of(reference).as_ref())
        })
        .ok()
    }

    fn streamed(
        &self,
        kind: &BodyKind,
        source: &[u8],
        cuts: &[usize],
    ) -> Result<Vec<u8>, StreamError> {
        let mut stream = BodyStream::new(kind);
        let mut out = Vec::new();
        let mut rest = source;
        for cut in cuts.iter().cycle() {
            let (piece, tail) = rest.split_at(rest.len().min(*cut));
            stream.push(Bytes::copy_from_slice(piece))?;
            assert_eq!(self.drive(&mut stream, &mut out)?, StreamStep::More);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        stream.finish()?;
        assert_eq!(self.drive(&mut stream, &mut out)?, StreamStep::Done);
        Ok(out)
    }

    fn drive(&self, stream: &mut BodyStream, out: &mut Vec<u8>) -> Result<StreamStep, StreamError> {
        for round in 0.. {
            // Whether it is taken as it came or written by the step.
            if round % 3 != 2 {
                out.extend_from_slice(&stream.pass()?);
            }
            match stream.step(out)? {
                StreamStep::Flush => {}
                StreamStep::Resolve(need) => stream.supply(Arc::clone(self.of(&need.reference))),
                step => return Ok(step),
            }
        }
        unreachable!()
    }
}
