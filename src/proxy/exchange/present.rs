//! Which of the fields that a hop looks at a head has.
//!
//! Most heads have hardly any of them, and each look-up in a `HeaderMap` hashes the name: one pass over
//! the names that are there takes the time of two look-ups, and stands for twenty.

use http::header::HeaderMap;

use crate::proxy::exchange::hop_by_hop;

/// Fields of a head, by the names that it had when this was made. What is removed from the head later is
/// still in here: that a field is here says that it is worth a look, and that it is not is certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present(u32);

/// Declares a constant for each name.
macro_rules! fields {
    ($($constant:ident = $name:literal, $bit:literal;)*) => {
        impl Present {
            $(
                #[doc = concat!("`", $name, "`")]
                pub const $constant: Self = Self(1 << $bit);
            )*

            fn named(name: &str) -> u32 {
                match name {
                    $($name => 1 << $bit,)*
                    _ => 0,
                }
            }

            #[cfg(test)]
            const ALL: &[(&str, Self)] = &[$(($name, Self::$constant)),*];
        }
    };
}

fields! {
    ACCEPT_ENCODING = "accept-encoding", 0;
    ACCEPT_RANGES = "accept-ranges", 1;
    AUTHORIZATION = "authorization", 2;
    CONTENT_ENCODING = "content-encoding", 3;
    CONTENT_LENGTH = "content-length", 4;
    DOCKER_CONTENT_DIGEST = "docker-content-digest", 5;
    EXPECT = "expect", 6;
    GRPC_ENCODING = "grpc-encoding", 7;
    PROXY_STATUS = "proxy-status", 8;
    SEC_WEBSOCKET_KEY = "sec-websocket-key", 9;
    SIGNATURE = "signature", 13;
    SIGNATURE_INPUT = "signature-input", 14;
    TRAILER = "trailer", 10;
    TRANSFER_ENCODING = "transfer-encoding", 11;
    UPGRADE = "upgrade", 12;
}

impl Present {
    /// A field that ends at this hop whatever `Connection` says.
    pub const ENDS_HERE: Self = Self(1 << 30);
    /// A field that asks for a part, under any of its names.
    pub const RANGE: Self = Self(1 << 31);

    /// Those of a head with these fields.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            let name = name.as_str();
            present.0 |= Self::named(name);
            if hop_by_hop::ends_here(name) {
                present = present.and(Self::ENDS_HERE);
            }
            // `If-Range` and the names of object stores end like this, too.
            if name.ends_with("range") {
                present = present.and(Self::RANGE);
            }
        }
        present
    }

    /// These and `other`.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `fields` is among them.
    pub fn has(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    fn of(names: &[&str]) -> Present {
        let name = |name: &&str| HeaderName::from_bytes(name.as_bytes()).expect("a name");
        let named = names.iter().map(name);
        Present::of(
            &named
                .map(|name| (name, HeaderValue::from_static("x")))
                .collect(),
        )
    }

    #[test]
    fn each_field_is_seen_by_itself() {
        for (name, field) in Present::ALL {
            let only = of(&["host", name, "x-other"]);
            let others = Present::ALL.iter().filter(|(_, other)| other != field);
            assert!(only.has(*field), "{name}");
            for (other, field) in others {
                assert!(!only.has(*field), "{name} is taken for {other}");
            }
        }
        assert_eq!(
            of(&["host", "x-upgrade", "content-type"]),
            Present::default()
        );
    }

    #[test]
    fn what_ends_here_and_what_asks_for_a_part_are_seen() {
        for name in [
            "connection",
            "te",
            "upgrade",
            "proxy-authorization",
            "egret-action",
        ] {
            assert!(of(&[name]).has(Present::ENDS_HERE), "{name}");
        }
        for name in [
            "range",
            "if-range",
            "x-ms-range",
            "x-amz-range",
            "x-goog-range",
        ] {
            assert!(of(&[name]).has(Present::RANGE), "{name}");
        }
        assert!(!of(&["trailer", "accept-ranges"]).has(Present::ENDS_HERE));
    }
}
