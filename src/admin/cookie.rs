//! The cookie of a session.

use http::{HeaderMap, HeaderValue, header};

use super::names::Names;
use crate::policy::destination::Scheme;

/// How long a browser may be at the identity provider.
const OPENID_SECONDS: u64 = 600;

/// The value of a cookie. Of two with one name the browser sends the more specific one first.
pub(super) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let fields = headers.get_all(header::COOKIE).iter();
    let mut cookies = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find_map(|(known, value)| (known == name).then_some(value))
}

/// Sets the cookie of a session. `Lax`, because a cookie that is `Strict` is not sent on the redirect
/// that ends a sign-in at an identity provider.
pub(super) fn set(names: &Names, token: &str, seconds: u64) -> Option<HeaderValue> {
    written(names, &names.cookie(), token, seconds)
}

/// Removes the cookie of a session.
pub(super) fn remove(names: &Names) -> Option<HeaderValue> {
    written(names, &names.cookie(), "", 0)
}

/// Sets the cookie of a browser that goes to the identity provider.
pub(super) fn set_openid(names: &Names, secret: &str) -> Option<HeaderValue> {
    written(names, &names.openid_cookie(), secret, OPENID_SECONDS)
}

/// Removes it.
pub(super) fn remove_openid(names: &Names) -> Option<HeaderValue> {
    written(names, &names.openid_cookie(), "", 0)
}

fn written(names: &Names, name: &str, value: &str, seconds: u64) -> Option<HeaderValue> {
    let secure = match names.url().scheme {
        Scheme::Https => "; Secure",
        Scheme::Http => "",
    };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    let mut field = HeaderValue::from_str(&text).ok()?;
    field.set_sensitive(true);
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; egret=2"));
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("egret-session=3;b"),
        );
        assert_eq!(value(&headers, "egret-session"), Some("3"));
        assert_eq!(value(&headers, "egret"), Some("2"));
        assert_eq!(value(&headers, "b"), None);
    }
}
