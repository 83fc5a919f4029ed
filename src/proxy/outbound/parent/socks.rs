//! SOCKS5 to a parent proxy (RFC 1928, RFC 1929). Names are resolved there.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::failure::{Failed, Target, proxy_failed, unreachable};
use super::login::Pair;
use crate::policy::destination::Host;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xFF;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks for a tunnel.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &Target,
    login: Option<&Pair>,
) -> Result<(), Failed> {
    greet(stream, login).await?;
    let mut request = vec![VERSION, CONNECT, 0];
    match &target.host {
        Host::Ipv4(address) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        Host::Ipv6(address) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
        Host::Domain(name) => {
            request.push(NAME);
            request.extend(counted(name.as_bytes())?.iter());
        }
    }
    request.extend(target.port.to_be_bytes());
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, reply, _reserved, kind] = head;
    if version != VERSION {
        return Err(no_socks());
    }
    if reply != 0 {
        return Err(refused(reply));
    }
    // The parent's own end of the connection.
    let address = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        _ => return Err(no_socks()),
    };
    stream.read_exact(&mut vec![0; address + 2]).await?;
    Ok(())
}

/// Agrees on a method, and logs in.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    login: Option<&Pair>,
) -> Result<(), Failed> {
    // Who has a login offers no other method: a parent that took none would let anyone through.
    let offered = if login.is_some() { LOGIN } else { NO_LOGIN };
    stream.write_all(&[VERSION, 1, offered]).await?;
    stream.flush().await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    match (chosen, login) {
        ([VERSION, NO_LOGIN], None) => Ok(()),
        ([VERSION, LOGIN], Some(pair)) => log_in(stream, pair).await,
        ([VERSION, NO_METHOD], None) => Err(proxy_failed(
            "the proxy of upstream.proxy asks for a login; name its credential in \
             upstream.proxy_credential",
        )
        .into()),
        ([VERSION, NO_METHOD], Some(_)) => Err(proxy_failed(
            "the proxy of upstream.proxy takes no login; remove upstream.proxy_credential",
        )
        .into()),
        _ => Err(no_socks()),
    }
}

async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    pair: &Pair,
) -> Result<(), Failed> {
    let mut message = Zeroizing::new(vec![LOGIN_VERSION]);
    message.extend(counted(pair.user())?.iter());
    message.extend(counted(pair.password())?.iter());
    stream.write_all(&message).await?;
    stream.flush().await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    match answer {
        [LOGIN_VERSION, 0] => Ok(()),
        _ => Err(proxy_failed(
            "the proxy of upstream.proxy does not accept the login of upstream.proxy_credential",
        )
        .into()),
    }
}

/// A text behind its length, which is one byte.
fn counted(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let length = u8::try_from(text.len()).map_err(|_| {
        proxy_failed("SOCKS5 has no room for a name, a user name or a password above 255 bytes")
    })?;
    Ok(Zeroizing::new([&[length], text].concat()))
}

fn refused(reply: u8) -> Failed {
    let why = match reply {
        2 => return proxy_failed("the proxy of upstream.proxy refuses the destination").into(),
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the connection was refused",
        6 => "it took too long",
        _ => "a general failure",
    };
    unreachable(format!(
        "the proxy of upstream.proxy does not reach the destination: {why}"
    ))
    .into()
}

fn no_socks() -> Failed {
    proxy_failed("the proxy of upstream.proxy does not speak SOCKS5").into()
}
