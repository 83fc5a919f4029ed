//! Refusals as HTTP answers: the only place that turns a [`Refusal`] into a response.

use crate::proxy::exchange::headers::EGRET_ERROR;
use crate::proxy::exchange::headers::EGRET_REQUEST;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::error::{Code, Refusal};
use crate::proxy::response::reply_body::ReplyBody;

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
}

/// The answer to a refused request.
pub fn refuse(refusal: &Refusal, request_id: &str) -> Response<ReplyBody> {
    let code = refusal.code;
    let body = problem_json(refusal, request_id);
    let mut response = Response::new(ReplyBody::full(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(EGRET_ERROR, HeaderValue::from_static(code.as_str()));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(EGRET_REQUEST, id);
    }
    if let Ok(status) = HeaderValue::from_str(&proxy_status(code)) {
        headers.insert("proxy-status", status);
    }
    if code == Code::ProxyAuthRequired {
        headers.insert(
            header::PROXY_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"egret\""),
        );
    }
    if ends_connection(code) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The same answer as the bytes of an HTTP/1.1 message, for a connection that never reaches the
/// HTTP library because the proxy is full.
pub fn refuse_bytes(refusal: &Refusal, request_id: &str) -> Vec<u8> {
    let code = refusal.code;
    let body = problem_json(refusal, request_id);
    format!(
        "HTTP/1.1 {} {}\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Egret-Error: {code}\r\nProxy-Status: {}\r\nConnection: close\r\n\r\n{body}",
        code.status(),
        code.title(),
        body.len(),
        proxy_status(code),
    )
    .into_bytes()
}

fn problem_json(refusal: &Refusal, request_id: &str) -> String {
    let problem = Problem {
        r#type: format!("urn:egret:error:{}", refusal.code),
        title: refusal.code.title(),
        status: refusal.code.status(),
        code: refusal.code.as_str(),
        detail: &refusal.detail,
        request_id,
        slug: refusal.slug.as_deref(),
        location: refusal.location.as_deref(),
        destination: refusal.destination.as_deref(),
    };
    // Serialising a struct of strings cannot fail.
    serde_json::to_string(&problem).unwrap_or_default()
}

/// RFC 9209 section 2: who answers, the error type, and our code as the detail.
fn proxy_status(code: Code) -> String {
    format!("egret; error={}; details=\"{code}\"", code.proxy_status())
}

/// After these the bytes that follow on the connection cannot be trusted, or the client should not wait.
fn ends_connection(code: Code) -> bool {
    matches!(
        code,
        Code::RequestMalformed | Code::HeadersTooLarge | Code::ShuttingDown | Code::Overloaded
    )
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_refusal_is_a_problem_document_with_its_headers() {
        let refusal = Refusal::new(Code::CredentialNotFound, "save it first")
            .slug("gh")
            .location("header:authorization")
            .destination("https://a.test:443");
        let response = refuse(&refusal, "r1");
        assert_eq!(response.status(), 424);
        assert_eq!(response.headers()[EGRET_ERROR], "credential_not_found");
        assert_eq!(
            response.headers()["proxy-status"],
            "egret; error=http_request_denied; details=\"credential_not_found\""
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:egret:error:credential_not_found",
                "title": "No usable credential of that slug",
                "status": 424,
                "code": "credential_not_found",
                "detail": "save it first",
                "request_id": "r1",
                "slug": "gh",
                "location": "header:authorization",
                "destination": "https://a.test:443",
            })
        );
    }

    #[test]
    fn only_407_asks_for_credentials() {
        for code in Code::ALL {
            let response = refuse(&Refusal::new(*code, ""), "r");
            assert_eq!(
                response.headers().contains_key(header::PROXY_AUTHENTICATE),
                *code == Code::ProxyAuthRequired
            );
        }
    }
}
