//! Refusals as HTTP answers: the only place that turns a [`Refusal`] into a response.

use crate::proxy::exchange::headers::EGRET_ERROR;
use crate::proxy::exchange::headers::EGRET_REQUEST;
use http::{HeaderValue, Response, header};
use hyper::ext::ReasonPhrase;

use crate::error::{Code, Refusal};
use crate::proxy::response::audience::Audience;
use crate::proxy::response::forms::{Form, problem_json, reason_phrase};
use crate::proxy::response::reply_body::ReplyBody;

/// The answer to a refused request, in the form that its client reads.
pub fn refuse(refusal: &Refusal, request_id: &str, audience: Audience) -> Response<ReplyBody> {
    let code = refusal.code;
    let form = Form::new(audience, refusal, request_id);
    let mut response = Response::new(ReplyBody::full(form.body));
    *response.status_mut() = form.status;
    if form.status.as_u16() == code.status() {
        // Only HTTP/1.1 has it.
        let phrase = ReasonPhrase::try_from(reason_phrase(code).as_bytes());
        if let Ok(phrase) = phrase {
            response.extensions_mut().insert(phrase);
        }
    }
    let headers = response.headers_mut();
    for (name, value) in form.fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    let media_type = HeaderValue::from_static(form.media_type);
    headers.insert(header::CONTENT_TYPE, media_type);
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
    if let Some(seconds) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
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
        reason_phrase(code).to_str().unwrap_or_default(),
        body.len(),
        proxy_status(code),
    )
    .into_bytes()
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
        let response = refuse(&refusal, "r1", Audience::Json);
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
                "error": {
                    "message": "No usable credential of that slug (<<gh>> in header:authorization): save it first",
                    "type": "egret_error",
                    "code": "credential_not_found",
                },
            })
        );
    }

    #[test]
    fn only_407_asks_for_credentials() {
        for code in Code::ALL {
            let response = refuse(&Refusal::new(*code, ""), "r", Audience::Json);
            assert_eq!(
                response.headers().contains_key(header::PROXY_AUTHENTICATE),
                *code == Code::ProxyAuthRequired
            );
        }
    }
}
