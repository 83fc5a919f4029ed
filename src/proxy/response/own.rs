//! Egret's own answers to requests for `egret.internal`.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response};
use serde::Serialize;

use crate::clock::unix_seconds;
use crate::error::{Code, Refusal};
use crate::proxy::exchange::discovery::{Discovered, discover};
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::response::reply_body::ReplyBody;
use crate::tls::authority::Authority;
use crate::vault::Vault;

/// What `/slugs` says.
#[derive(Serialize)]
struct Slugs {
    slugs: Vec<Discovered>,
}

/// The answer to a request for Egret itself.
///
/// # Errors
/// When there is no such thing.
pub fn answer(
    context: &RequestContext,
    vault: &Vault,
    authority: &Authority,
) -> Result<Response<ReplyBody>, Refusal> {
    let (text, kind) = match (&context.method, &*context.raw_path) {
        (&Method::GET, "/slugs") => {
            let slugs = discover(vault, &context.caller, unix_seconds());
            let text = serde_json::json!(Slugs { slugs }).to_string();
            (text, "application/json")
        }
        (&Method::GET, "/ca.pem") => {
            let pem = authority.cert_pem().to_owned();
            (pem, "application/pem-certificate-chain")
        }
        _ => {
            let detail = "egret.internal is Egret itself: GET /slugs says what may be used, and GET \
                          /ca.pem which authority is to be trusted";
            return Err(Refusal::new(Code::RequestMalformed, detail));
        }
    };
    let mut answer = Response::new(ReplyBody::full(Bytes::from(text)));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}
