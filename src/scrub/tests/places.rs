//! Placeholders as the place allows them.

use super::*;

fn scrubbed_as(needles: &Arc<Needles>, replacement: Replacement, text: &str) -> String {
    let whole = scrub_with(needles, replacement, &[text.as_bytes()]);
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(scrub_with(needles, replacement, &bytes), whole, "{text}");
    String::from_utf8(whole.0).expect("text")
}

#[test]
fn in_xml_and_in_uris_a_placeholder_is_escaped() {
    let one = one(b"hunter2-hunter3");
    let text = "<a b='hunter2-hunter3'/>";
    let xml = scrubbed_as(&one, Replacement::Xml, text);
    assert_eq!(xml, "<a b='&lt;&lt;a&gt;&gt;'/>");
    let uri = scrub_bytes_with(
        &one,
        Replacement::Percent,
        b"/x?k=hunter2-hunter3",
        &mut Vec::new(),
    );
    assert_eq!(uri.as_deref(), Some(&b"/x?k=%3C%3Ca%3E%3E"[..]));
}

#[test]
fn an_escaped_placeholder_completes_no_value() {
    let values = [
        b"hunter2-hunter3".to_vec(),
        b"Evalue-0123".to_vec(),
        b";value-0123".to_vec(),
    ];
    let all = needles(&values);
    for text in ["hunter2-hunter3value-0123", "xhunter2-hunter3value-0123"] {
        for replacement in [Replacement::Percent, Replacement::Xml] {
            let out = scrub_bytes_with(&all, replacement, text.as_bytes(), &mut Vec::new());
            let out = out.expect("a hit");
            assert!(
                values.iter().all(|value| !contains(&out, value)),
                "{}",
                out.escape_ascii()
            );
        }
    }
}

#[test]
fn in_json_a_number_becomes_a_string() {
    let values = [
        b"123456789012".to_vec(),
        b"-4.5678901e+10".to_vec(),
        b"a \"text\" value".to_vec(),
    ];
    let all = needles(&values);
    for (text, expected) in [
        (r#"{"id":123456789012}"#, r#"{"id":"<<a>>"}"#),
        (r#"[123456789012,1]"#, r#"[\"<<a>>",1]"#),
        (r#"123456789012"#, r#""<<a>>""#),
        (
            r#"{"id":12345678901234, "n":-4.5678901e+10}"#,
            r#"{"id":"<<a>>", "n":"<<b>>"}"#,
        ),
        (r#"{"id":99123456789012}"#, r#"{"id":991}"#),
        (r#"{"id":-123456789012}"#, r#"{"id":-1}"#),
        (
            r#"{"id":"123456789012", "t":"no: 123456789012,"}"#,
            r#"{"id":"<<a>>", "t":"no: <<a>>,"}"#,
        ),
        (
            r#"{"\\\"":"123456789012","k":123456789012}"#,
            r#"{"\\\"":"<<a>>","k":"<<a>>"}"#,
        ),
        (
            r#"{"t":"a \"text\" value","id":123456789012}"#,
            r#"{"t":"<<c>>","id":"<<a>>"}"#,
        ),
    ] {
        let expected = expected.replace(r#"[\""#, r#"[""#);
        let out = scrubbed_as(&all, Replacement::Json, text);
        assert_eq!(out, expected, "{text}");
        assert!(
            serde_json::from_str::<serde_json::Value>(&out).is_ok(),
            "{out}"
        );
    }
}
