//! One refusal in the form of each protocol: its body, its media type and its own fields.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::error::{Code, Refusal};
use crate::proxy::response::audience::Audience;

/// A refusal as a client reads it.
pub struct Form {
    /// The status code, which some protocols keep out of HTTP.
    pub status: StatusCode,
    /// The media type of the body.
    pub media_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// Fields of the protocol's own.
    pub fields: Vec<(HeaderName, String)>,
}

/// The members of RFC 9457 and ours, in a stable order.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a str>,
    /// What SDKs of JSON APIs show.
    error: ErrorMember<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ErrorMember<'a> {
    Object {
        message: &'a str,
        r#type: &'a str,
        code: &'a str,
    },
    Text(String),
}

impl Form {
    /// A refusal in the form that `audience` reads.
    pub fn new(audience: Audience, refusal: &Refusal, request_id: &str) -> Self {
        let code = refusal.code;
        let status = StatusCode::from_u16(code.status());
        let form = |media_type, body: String| Self {
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            media_type,
            body: body.into(),
            fields: Vec::new(),
        };
        let words = words(refusal);
        match audience {
            Audience::Json | Audience::JsonText => form(
                "application/problem+json",
                problem(refusal, request_id, &words, audience),
            ),
            Audience::Grpc(media_type) => Self {
                status: StatusCode::OK,
                fields: vec![
                    (
                        HeaderName::from_static("grpc-status"),
                        grpc(code).number.to_string(),
                    ),
                    (
                        HeaderName::from_static("grpc-message"),
                        grpc_message(&format!("{code}: {words}")),
                    ),
                ],
                ..form(media_type, String::new())
            },
            Audience::ConnectUnary => form("application/json", connect(code, &words)),
            Audience::ConnectStream(media_type) => Self {
                status: StatusCode::OK,
                body: last_envelope(&format!("{{\"error\":{}}}", connect(code, &words))),
                ..form(media_type, String::new())
            },
            Audience::StorageXml => Self {
                fields: vec![(HeaderName::from_static("x-ms-error-code"), code.to_string())],
                ..form("application/xml", storage_xml(code, &words, request_id))
            },
            Audience::AwsQuery => form("text/xml", aws_query(code, &words, request_id)),
            Audience::AwsJson => Self {
                fields: vec![(
                    HeaderName::from_static("x-amzn-errortype"),
                    code.to_string(),
                )],
                ..form("application/x-amz-json-1.1", aws_json(code, &words))
            },
            Audience::GitLfs => form(
                "application/vnd.git-lfs+json",
                json(&GitLfs {
                    message: &format!("{code}: {words}"),
                    request_id,
                }),
            ),
            Audience::Kubernetes => form("application/json", kubernetes(code, &words)),
            Audience::Registry => form("application/json", registry(code, &words)),
            Audience::GraphQl => form("application/graphql-response+json", graphql(code, &words)),
            Audience::Text => form("text/plain; charset=utf-8", format!("{code}: {words}\n")),
        }
    }
}

/// What a person reads: what happened, to what, and what to do.
fn words(refusal: &Refusal) -> String {
    let title = refusal.code.title();
    let detail = &refusal.detail;
    match (&refusal.slug, &refusal.location) {
        (Some(slug), Some(location)) => format!("{title} (<<{slug}>> in {location}): {detail}"),
        (Some(slug), None) => format!("{title} (<<{slug}>>): {detail}"),
        _ => format!("{title}: {detail}"),
    }
}

/// The problem document.
pub fn problem_json(refusal: &Refusal, request_id: &str) -> String {
    problem(refusal, request_id, &words(refusal), Audience::Json)
}

fn problem(refusal: &Refusal, request_id: &str, words: &str, audience: Audience) -> String {
    let code = refusal.code.as_str();
    let error = match audience {
        Audience::JsonText => ErrorMember::Text(format!("{code}: {words}")),
        _ => ErrorMember::Object {
            message: words,
            r#type: "egret_error",
            code,
        },
    };
    json(&Problem {
        r#type: format!("urn:egret:error:{code}"),
        title: refusal.code.title(),
        status: refusal.code.status(),
        code,
        detail: &refusal.detail,
        request_id,
        slug: refusal.slug.as_deref(),
        location: refusal.location.as_deref(),
        destination: refusal.destination.as_deref(),
        error,
    })
}

/// Serialising a struct of texts cannot fail.
fn json(members: &impl Serialize) -> String {
    serde_json::to_string(members).unwrap_or_default()
}

/// A status code of gRPC, and the same as the Connect protocol says it.
struct GrpcCode {
    number: u8,
    name: &'static str,
}

/// By the HTTP status of the code, as their meaning is in both protocols. `unavailable` is what clients
/// try again.
fn grpc(code: Code) -> GrpcCode {
    let (number, name) = match code.status() {
        400 | 415 | 421 | 422 => (3, "invalid_argument"),
        403 => (7, "permission_denied"),
        407 => (16, "unauthenticated"),
        409 | 424 | 508 => (9, "failed_precondition"),
        413 | 429 | 431 => (8, "resource_exhausted"),
        502..=504 => (14, "unavailable"),
        _ => (13, "internal"),
    };
    GrpcCode { number, name }
}

/// Percent-encoded as the gRPC protocol wants it ("Status-Message").
fn grpc_message(words: &str) -> String {
    let mut message = String::with_capacity(words.len());
    for byte in words.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(char::from(byte)),
            _ => message.push_str(&format!("%{byte:02X}")),
        }
    }
    message
}

#[derive(Serialize)]
struct Connect<'a> {
    code: &'a str,
    message: &'a str,
}

fn connect(code: Code, words: &str) -> String {
    json(&Connect {
        code: grpc(code).name,
        message: &format!("{code}: {words}"),
    })
}

/// The envelope that ends a stream: flag 2, and its length in four bytes.
fn last_envelope(message: &str) -> Bytes {
    let mut envelope = vec![2];
    let length = u32::try_from(message.len()).unwrap_or_default();
    envelope.extend_from_slice(&length.to_be_bytes());
    envelope.extend_from_slice(message.as_bytes());
    envelope.into()
}

#[derive(Serialize)]
struct AwsJson<'a> {
    #[serde(rename = "__type")]
    kind: &'a str,
    code: &'a str,
    message: &'a str,
}

fn aws_json(code: Code, words: &str) -> String {
    json(&AwsJson {
        kind: code.as_str(),
        code: code.as_str(),
        message: words,
    })
}

#[derive(Serialize)]
struct GitLfs<'a> {
    message: &'a str,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Status<'a> {
    kind: &'a str,
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    status: &'a str,
    message: &'a str,
    reason: &'a str,
    code: u16,
}

fn kubernetes(code: Code, words: &str) -> String {
    json(&Status {
        kind: "Status",
        api_version: "v1",
        status: "Failure",
        message: words,
        reason: code.as_str(),
        code: code.status(),
    })
}

#[derive(Serialize)]
struct Errors<E> {
    errors: [E; 1],
}

#[derive(Serialize)]
struct Coded<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

fn registry(code: Code, words: &str) -> String {
    json(&Errors {
        errors: [Coded {
            code: code.as_str(),
            message: Some(words),
        }],
    })
}

#[derive(Serialize)]
struct GraphQlError<'a> {
    message: &'a str,
    extensions: Coded<'a>,
}

fn graphql(code: Code, words: &str) -> String {
    json(&Errors {
        errors: [GraphQlError {
            message: words,
            extensions: Coded {
                code: code.as_str(),
                message: None,
            },
        }],
    })
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

fn storage_xml(code: Code, words: &str, request_id: &str) -> String {
    format!(
        "{XML}\n<Error><Code>{code}</Code><Message>{}</Message><RequestId>{}</RequestId></Error>",
        xml_text(words),
        xml_text(request_id)
    )
}

fn aws_query(code: Code, words: &str, request_id: &str) -> String {
    format!(
        "{XML}\n<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{}</Message>\
         </Error><RequestId>{}</RequestId></ErrorResponse>",
        xml_text(words),
        xml_text(request_id)
    )
}

/// Escaped, and without the control characters that XML 1.0 has no way to write (section 2.2).
fn xml_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(character),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The phrase after the status code of HTTP/1.1, which many programs show and nothing else.
pub fn reason_phrase(code: Code) -> HeaderValue {
    let phrase = format!("{} ({code})", code.title());
    HeaderValue::from_str(&phrase).unwrap_or_else(|_| HeaderValue::from_static("Refused"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal::new(Code::CredentialNotFound, "save \u{e9} & 100% <it>")
            .slug("gh")
            .location("body")
    }

    fn text(audience: Audience) -> String {
        let form = Form::new(audience, &refusal(), "r1");
        String::from_utf8(form.body.to_vec()).unwrap()
    }

    const WORDS: &str =
        "No usable credential of that slug (<<gh>> in body): save \u{e9} & 100% <it>";

    #[test]
    fn each_form_has_the_same_words_and_code() {
        let json = |audience| serde_json::from_str::<serde_json::Value>(&text(audience)).unwrap();
        let object = json(Audience::Json);
        assert_eq!(object["error"]["message"], WORDS);
        assert_eq!(object["error"]["code"], "credential_not_found");
        let member = &json(Audience::JsonText)["error"];
        assert_eq!(*member, format!("credential_not_found: {WORDS}"));
        let connect = json(Audience::ConnectUnary);
        assert_eq!(connect["code"], "failed_precondition");
        assert_eq!(connect["message"], format!("credential_not_found: {WORDS}"));
        let aws = json(Audience::AwsJson);
        assert_eq!(
            (&aws["__type"], &aws["message"]),
            (&"credential_not_found".into(), &WORDS.into())
        );
        let lfs = &json(Audience::GitLfs)["message"];
        assert_eq!(*lfs, format!("credential_not_found: {WORDS}"));
        let status = json(Audience::Kubernetes);
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&"Status".into(), &424.into())
        );
        assert_eq!(
            (&status["message"], &status["reason"]),
            (&WORDS.into(), &"credential_not_found".into())
        );
        let registry = &json(Audience::Registry)["errors"][0];
        assert_eq!(
            (&registry["code"], &registry["message"]),
            (&"credential_not_found".into(), &WORDS.into())
        );
        let graphql = &json(Audience::GraphQl)["errors"][0];
        assert_eq!(graphql["message"], WORDS);
        assert_eq!(graphql["extensions"]["code"], "credential_not_found");
        assert_eq!(
            text(Audience::Text),
            format!("credential_not_found: {WORDS}\n")
        );
        for audience in [Audience::StorageXml, Audience::AwsQuery] {
            let xml = text(audience);
            let message = quick_xml::escape::unescape(&xml).unwrap();
            assert!(
                message.contains(WORDS) && xml.contains("&lt;it&gt;"),
                "{xml}"
            );
            assert!(xml.contains("<Code>credential_not_found</Code>"), "{xml}");
        }
    }

    #[test]
    fn grpc_has_its_status_in_fields_and_connect_in_the_last_envelope() {
        let form = Form::new(Audience::Grpc("application/grpc"), &refusal(), "r1");
        assert_eq!((form.status, form.body.len()), (StatusCode::OK, 0));
        assert_eq!(form.fields[0].1, "9");
        let message = &form.fields[1].1;
        assert!(message.starts_with("credential_not_found: No usable"));
        assert!(message.ends_with("save %C3%A9 & 100%25 <it>"));
        let stream = Audience::ConnectStream("application/connect+json");
        let form = Form::new(stream, &refusal(), "r1");
        assert_eq!(form.body[0], 2);
        let length = u32::from_be_bytes(form.body[1..5].try_into().unwrap());
        assert_eq!(length as usize, form.body.len() - 5);
        let json: serde_json::Value = serde_json::from_slice(&form.body[5..]).unwrap();
        assert_eq!(json["error"]["code"], "failed_precondition");
    }

    #[test]
    fn every_code_has_a_phrase_and_a_status_of_grpc() {
        for code in Code::ALL {
            let phrase = reason_phrase(*code);
            assert!(phrase.to_str().unwrap().contains(code.as_str()));
            assert_ne!(grpc(*code).number, 0);
        }
    }
}
