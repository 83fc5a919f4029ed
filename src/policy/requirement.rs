//! Destinations at which a request needs a value of Egret's, and the requests that do not.

use std::fmt;
use std::str::FromStr;

use super::decide;
use super::grant::{self, InvalidGrantName, InvalidGrantPath, PathPrefix};

/// Some requests, by method, path or both: `OPTIONS`, `/meta`, `GET /meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPattern {
    method: Option<String>,
    path: Option<PathPrefix>,
}

impl RequestPattern {
    /// Whether it covers a request. A path that servers read differently is covered by none.
    pub fn covers(&self, method: &str, path: &str) -> bool {
        let is_method = self.method.as_deref().is_none_or(|own| own == method);
        is_method && decide::check_path(self.path.as_slice(), path).is_ok()
    }
}

impl fmt::Display for RequestPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_deref().unwrap_or_default();
        match &self.path {
            Some(path) if method.is_empty() => write!(f, "{path}"),
            Some(path) => write!(f, "{method} {path}"),
            None => f.write_str(method),
        }
    }
}

/// Why a text names no requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequestPattern {
    /// The method.
    #[error(transparent)]
    Method(#[from] InvalidGrantName),
    /// The path.
    #[error(transparent)]
    Path(#[from] InvalidGrantPath),
    /// It would cover every request.
    #[error("name a method, a path or both, such as \"GET /meta\"")]
    Everything,
}

impl FromStr for RequestPattern {
    type Err = InvalidRequestPattern;

    fn from_str(text: &str) -> Result<Self, InvalidRequestPattern> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method), Some(path.trim())),
            None if text.starts_with('/') => (None, Some(text)),
            None => (Some(text), None),
        };
        if method == Some("*") || method == Some("") {
            return Err(InvalidRequestPattern::Everything);
        }
        Ok(Self {
            method: method.map(grant::parse_method).transpose()?,
            path: path.map(grant::parse_path).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_its_method_and_what_is_below_its_path() {
        let covers = |pattern: &str, method: &str, path: &str| {
            let pattern: RequestPattern = pattern.parse().unwrap();
            pattern.covers(method, path)
        };
        assert!(covers("OPTIONS", "OPTIONS", "/x") && !covers("OPTIONS", "GET", "/x"));
        assert!(covers("/meta", "PUT", "/meta/a") && !covers("/meta", "GET", "/metadata"));
        assert!(covers("GET /meta", "GET", "/meta"));
        assert!(!covers("GET /meta", "POST", "/meta"));
        assert!(!covers("GET /meta", "get", "/meta"));
        assert!(!covers("/meta", "GET", "/x/%2e%2e/meta"));
        for text in ["", "*", "* /x", "GET meta", "/a/../b", "G T"] {
            assert!(text.parse::<RequestPattern>().is_err(), "{text}");
        }
        for text in ["OPTIONS", "/meta", "GET /meta/"] {
            assert_eq!(text.parse::<RequestPattern>().unwrap().to_string(), text);
        }
    }
}
