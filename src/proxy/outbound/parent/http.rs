//! CONNECT to a parent proxy (RFC 9110 section 9.3.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::failure::{Failed, Target, proxy_failed, unreachable};
use super::login::Pair;

/// Longest head of an answer.
const LONGEST: usize = 16 * 1024;
/// Most fields of one.
const FIELDS: usize = 64;

/// Asks for a tunnel.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &Target,
    login: Option<&Pair>,
) -> Result<(), Failed> {
    let Target { host, port } = target;
    let mut request = Zeroizing::new(format!(
        "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    ));
    if let Some(pair) = login {
        let text = Zeroizing::new([pair.user(), b":", pair.password()].concat());
        request.push_str("Proxy-Authorization: Basic ");
        STANDARD.encode_string(&*text, &mut request);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    match read_status(stream).await? {
        200..=299 => Ok(()),
        407 if login.is_some() => Err(proxy_failed(
            "the proxy of upstream.proxy does not accept the login of upstream.proxy_credential",
        )
        .into()),
        407 => Err(proxy_failed(
            "the proxy of upstream.proxy asks for a login; name its credential in \
             upstream.proxy_credential",
        )
        .into()),
        status @ (502..=504) => Err(unreachable(format!(
            "the proxy of upstream.proxy does not reach the destination: it answered {status}"
        ))
        .into()),
        status => Err(proxy_failed(format!(
            "the proxy of upstream.proxy refuses the destination: it answered {status}"
        ))
        .into()),
    }
}

/// The status of the answer, read to the end of its head and not a byte further: what follows may be
/// the destination's. What else the parent says is shown to nobody.
async fn read_status<S: AsyncRead + Unpin>(stream: &mut S) -> Result<u16, Failed> {
    let no_http = || proxy_failed("the proxy of upstream.proxy does not speak HTTP");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST {
            return Err(no_http().into());
        }
        head.push(stream.read_u8().await?);
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let parsed = answer.parse(&head);
    match (parsed, answer.code) {
        (Ok(httparse::Status::Complete(_)), Some(status)) => Ok(status),
        _ => Err(no_http().into()),
    }
}
