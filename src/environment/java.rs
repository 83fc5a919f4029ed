//! Java reads neither proxy variables nor PEM: it gets system properties and a key store.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use aws_lc_rs::digest;

use super::proxy_access::ProxyAccess;

/// Properties that are set here: an inherited option that sets one of them is dropped.
const PROPERTIES: &[&str] = &[
    "-Dhttp.proxyHost=",
    "-Dhttp.proxyPort=",
    "-Dhttps.proxyHost=",
    "-Dhttps.proxyPort=",
    "-Dhttp.proxyUser=",
    "-Dhttp.proxyPassword=",
    "-Dhttps.proxyUser=",
    "-Dhttps.proxyPassword=",
    "-Dhttp.nonProxyHosts=",
    "-DsocksProxyHost=",
    "-DsocksProxyPort=",
    "-Djava.net.useSystemProxies=",
    "-Djdk.http.auth.tunneling.disabledSchemes=",
    "-Djavax.net.ssl.trustStore=",
    "-Djavax.net.ssl.trustStorePassword=",
    "-Djavax.net.ssl.trustStoreType=",
];

/// The options for a JVM, after those that were inherited.
///
/// A token is not among them: a JVM prints this variable to standard error when it starts. Where one
/// is needed, a Java program brings its own `Authenticator`; Basic for tunnels, which the JDK
/// disables, is allowed then.
pub(super) fn options(
    existing: Option<&OsStr>,
    access: &ProxyAccess,
    direct: &[String],
    key_store: &Path,
) -> OsString {
    let mut options = existing.map(without_ours).unwrap_or_default();
    let mut push = |option: &OsStr| {
        if !options.is_empty() {
            options.push(" ");
        }
        options.push(option);
    };
    for scheme in ["http", "https"] {
        push(format!("-D{scheme}.proxyHost={}", access.host).as_ref());
        push(format!("-D{scheme}.proxyPort={}", access.port).as_ref());
    }
    push(format!("-Dhttp.nonProxyHosts={}", hosts(direct)).as_ref());
    if access.login.is_some() {
        push("-Djdk.http.auth.tunneling.disabledSchemes=".as_ref());
    }
    push(&trust_store(key_store));
    push("-Djavax.net.ssl.trustStoreType=JKS".as_ref());
    options
}

/// Java separates hosts by bars and writes IPv6 addresses in brackets.
fn hosts(direct: &[String]) -> String {
    let in_brackets = |host: &String| {
        if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        }
    };
    direct.iter().map(in_brackets).collect::<Vec<_>>().join("|")
}

/// A JVM splits the variable at white space outside quotes.
fn trust_store(path: &Path) -> OsString {
    let mut option = OsString::from("-Djavax.net.ssl.trustStore=");
    let spaced = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(u8::is_ascii_whitespace);
    let quote = if spaced { "\"" } else { "" };
    option.push(quote);
    option.push(path);
    option.push(quote);
    option
}

/// The options that are not set here. Those that are not UTF-8 cannot be split: they are kept as a
/// whole.
pub(super) fn without_ours(existing: &OsStr) -> OsString {
    match existing.to_str() {
        Some(text) => OsString::from(foreign(text).join(" ")),
        None => existing.to_owned(),
    }
}

/// The options that are not set here, with their quotes.
fn foreign(text: &str) -> Vec<&str> {
    let mut quote = None;
    text.split(|c: char| {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        quote.is_none() && c.is_ascii_whitespace()
    })
    .filter(|option| !option.is_empty())
    .filter(|option| !PROPERTIES.iter().any(|ours| option.starts_with(ours)))
    .collect()
}

/// A key store of trusted certificates in the format that every Java reads, JKS.
///
/// The format's checksum is made with the customary password; a JVM without a password does not
/// check it.
pub(super) fn key_store<'a>(certificates: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    const MAGIC: u32 = 0xFEED_FEED;
    const VERSION: u32 = 2;
    const TRUSTED_CERTIFICATE: u32 = 2;
    const PASSWORD: &str = "changeit";

    let mut store = Vec::new();
    store.extend(MAGIC.to_be_bytes());
    store.extend(VERSION.to_be_bytes());
    store.extend(length(certificates.len()));
    for (index, certificate) in certificates.enumerate() {
        store.extend(TRUSTED_CERTIFICATE.to_be_bytes());
        text(&mut store, &format!("root-{index}"));
        // The date of the entry: none, so that the same certificates give the same file.
        store.extend(0u64.to_be_bytes());
        text(&mut store, "X.509");
        store.extend(length(certificate.len()));
        store.extend(certificate);
    }
    let mut checksum = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        checksum.update(&unit.to_be_bytes());
    }
    checksum.update(b"Mighty Aphrodite");
    checksum.update(&store);
    store.extend_from_slice(checksum.finish().as_ref());
    store
}

/// A length in four bytes. No certificate is so long that it would not fit.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// Short ASCII text with its length in two bytes, as Java's `writeUTF` has it.
fn text(store: &mut Vec<u8>, text: &str) {
    store.extend_from_slice(&length(text.len())[2..]);
    store.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(existing: Option<&str>, key_store: &str) -> String {
        options(
            existing.map(OsStr::new),
            &ProxyAccess::at(([127, 0, 0, 1], 7070).into(), None),
            &["localhost".to_owned(), "127.0.0.1".to_owned()],
            Path::new(key_store),
        )
        .into_string()
        .expect("text")
    }

    #[test]
    fn options_of_the_users_own_are_kept_and_ours_come_once() {
        let once = with(Some("-Xmx1g -Dname='two words'"), "/d/ca.jks");
        assert!(once.starts_with("-Xmx1g -Dname='two words' -Dhttp.proxyHost=127.0.0.1 "));
        assert!(once.contains("-Dhttp.nonProxyHosts=localhost|127.0.0.1 "));
        assert_eq!(with(Some(&once), "/d/ca.jks"), once);
    }

    /// Written by hand from the format's description: one certificate of three bytes.
    #[test]
    fn a_key_store_has_javas_layout() {
        let store = key_store([&b"abc"[..]].into_iter());
        let expected = [
            &b"\xFE\xED\xFE\xED\0\0\0\x02\0\0\0\x01"[..],
            b"\0\0\0\x02\0\x06root-0\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x03abc",
        ]
        .concat();
        assert_eq!(store[..store.len() - 20], expected);
    }

    #[test]
    fn another_proxy_gives_way() {
        let options = with(
            Some("-Dhttps.proxyHost=corp -Dhttps.proxyPort=8080"),
            "/d/ca.jks",
        );
        assert!(!options.contains("corp"), "{options}");
    }

    #[test]
    fn a_path_with_a_space_stays_one_option() {
        let options = with(None, "/my data/ca.jks");
        assert!(options.contains("-Djavax.net.ssl.trustStore=\"/my data/ca.jks\" "));
        assert_eq!(with(Some(&options), "/my data/ca.jks"), options);
    }
}
