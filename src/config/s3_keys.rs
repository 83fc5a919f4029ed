//! The keys about the bucket that the ledger is stored in.

use std::net::Ipv4Addr;

use http::Uri;

use super::resolve::Resolver;
use super::s3::{S3Style, S3Target};
use super::safe_url::is_safe_url;
use super::units::choice;

const URL: &str = "ledger.s3_url";
const STYLE: &str = "ledger.s3_style";
const REGION: &str = "ledger.s3_region";
const LOGIN: &str = "ledger.s3_login";

/// The largest file that is stored: a store of S3 takes 5 GiB at once, and a file may be a little larger than
/// its limit.
const LARGEST: u64 = 4 << 30;

impl Resolver<'_> {
    /// For a ledger whose files have about this size.
    pub(super) fn s3(&mut self, max_size: u64) -> Option<S3Target> {
        let text: String = self.read(URL);
        let styles = [
            ("path", S3Style::Path),
            ("virtual-host", S3Style::VirtualHost),
        ];
        let style = self.parse(STYLE, |value| choice(value, &styles));
        let region: String = self.read(REGION);
        let login: String = self.read(LOGIN);
        if text == "none" {
            return None;
        }
        let Some((endpoint, bucket, prefix)) = parts(&text) else {
            self.complain(
                URL,
                "expected https://HOST/BUCKET or https://HOST/BUCKET/PREFIX (http on loopback only), of \
                 letters, digits, \".\", \"_\" and \"-\", or \"none\"",
            );
            return None;
        };
        if !is_name(&region) {
            self.complain(
                REGION,
                "expected the name of a region, such as \"us-east-1\"",
            );
        }
        if style == S3Style::VirtualHost && !may_be_host(&endpoint, &bucket) {
            self.complain(
                STYLE,
                "\"virtual-host\" needs a store with a host name, and a bucket of lower-case letters, digits and \
                 \"-\": certificates cover no name with another dot",
            );
        }
        if max_size > LARGEST {
            self.complain("ledger.max_size", "at most 4GiB with ledger.s3_url");
        }
        if login == "none" {
            self.complain(LOGIN, "needed with ledger.s3_url: the file with the login");
        }
        Some(S3Target {
            endpoint,
            style,
            bucket,
            prefix,
            region,
            login: self.data_dir.join(login),
        })
    }
}

/// Address, bucket and prefix in a URL.
fn parts(text: &str) -> Option<(Uri, String, String)> {
    let url: Uri = text.parse().ok().filter(|_| is_safe_url(text))?;
    let path = url.path().strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let are_names = path.split('/').all(is_name);
    if url.query().is_some() || !are_names {
        return None;
    }
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    let prefix = if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}/")
    };
    let bucket = bucket.to_owned();
    Some((url, bucket, prefix))
}

/// Whether the bucket can be named in front of the store's host name.
fn may_be_host(store: &Uri, bucket: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_address = store
        .host()
        .is_none_or(|host| host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok());
    !is_address
        && bucket.len() <= 63
        && bucket.bytes().all(fits)
        && !bucket.starts_with('-')
        && !bucket.ends_with('-')
}

/// Whether a part of a path needs no escapes and is not one that URLs resolve.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.bytes().all(fits) && text != "." && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_bucket_and_prefix() {
        let found = |text: &str| parts(text).map(|(_, bucket, prefix)| (bucket, prefix));
        let expected = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(found("https://s3.example/b"), expected("b", ""));
        assert_eq!(found("https://s3.example/b/"), expected("b", ""));
        assert_eq!(
            found("https://s3.example:9000/my-b.1/a/b"),
            expected("my-b.1", "a/b/")
        );
        assert_eq!(found("http://127.0.0.1:9000/b"), expected("b", ""));
        for (store, bucket, may) in [
            ("https://s3.example", "my-bucket-1", true),
            ("https://s3.example", "my.bucket", false),
            ("https://s3.example", "my_bucket", false),
            ("https://s3.example", "My", false),
            ("https://s3.example", "-b", false),
            ("http://127.0.0.1:9000", "b", false),
            ("http://[::1]:9000", "b", false),
            ("http://localhost:9000", "b", true),
        ] {
            assert_eq!(
                may_be_host(&store.parse().unwrap(), bucket),
                may,
                "{store} {bucket}"
            );
        }
        for bad in [
            "https://s3.example",
            "https://s3.example/",
            "https://s3.example/b//c",
            "https://s3.example/b/../c",
            "https://s3.example/b/%2e",
            "https://s3.example/b?x=y",
            "https://key:secret@s3.example/b",
            "http://s3.example/b",
        ] {
            assert_eq!(found(bad), None, "{bad}");
        }
    }
}
