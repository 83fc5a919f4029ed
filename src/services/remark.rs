//! What may be a mistake about a new value. It is said, never corrected in silence, and nothing of the
//! value is in it: the names of remarks may stand in an address.

use std::fmt;
use std::str::FromStr;

use super::{Service, find, of_key};
use crate::policy::grant::HostPattern;
use crate::scrub::{MIN_SEARCHED, Weakness, weak_value};

/// What may be a mistake about a value.
#[derive(Clone, Copy, Debug)]
pub enum Remark {
    /// White space at an end, which is saved.
    Space,
    /// Lines, which a header cannot carry.
    Lines,
    /// The same few characters again and again.
    Repeats,
    /// A word of ordinary text.
    CommonWord,
    /// Too short to be searched for everywhere.
    Short,
    /// It hardly is a key of the service that was chosen.
    Misfit(&'static Service),
    /// It looks like a key of a service whose hosts are not among those allowed.
    Elsewhere(&'static Service),
}

/// What may be a mistake about the value of a `secret` that is to be sent to `hosts`.
pub fn remarks(
    value: &[u8],
    service: Option<&'static Service>,
    hosts: &[HostPattern],
) -> Vec<Remark> {
    let is_space = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    let own = |service: &Service| {
        let mut hosts = hosts.iter();
        hosts.any(|host| service.hosts.iter().any(|own| own.covers(host)))
    };
    let guess = of_key(value).filter(|guess| service.is_none() && !own(guess));
    let found = [
        (is_space(value.first()) || is_space(value.last())).then_some(Remark::Space),
        is_wrapped(value).then_some(Remark::Lines),
        about_search(value),
        service
            .filter(|service| service.misfit(value).is_some())
            .map(Remark::Misfit),
        guess.map(Remark::Elsewhere),
    ];
    found.into_iter().flatten().collect()
}

/// The hosts whose tunnels are not opened.
pub fn passed_through<'a>(
    hosts: &'a [HostPattern],
    passthrough: &[HostPattern],
) -> impl Iterator<Item = &'a HostPattern> {
    let same = |one: &HostPattern, other: &HostPattern| one.includes(other) || other.includes(one);
    hosts
        .iter()
        .filter(move |host| passthrough.iter().any(|pattern| same(pattern, host)))
}

/// That no placeholder works at a host.
pub fn unopened(host: &HostPattern) -> String {
    format!("tunnels to {host} are not opened (tls.passthrough), so no placeholder works there")
}

/// Whether it has lines and is no file that has to have them.
fn is_wrapped(value: &[u8]) -> bool {
    value.trim_ascii().contains(&b'\n') && !value.trim_ascii().starts_with(b"-----BEGIN ")
}

/// Whether it would be found where it is no secret.
fn about_search(value: &[u8]) -> Option<Remark> {
    match weak_value(value) {
        Some(Weakness::RepeatsItself) => Some(Remark::Repeats),
        Some(Weakness::CommonWord) => Some(Remark::CommonWord),
        None if value.len() < MIN_SEARCHED => Some(Remark::Short),
        None => None,
    }
}

impl Remark {
    /// Its name in an address.
    pub fn name(self) -> String {
        match self {
            Self::Space => "space".to_owned(),
            Self::Lines => "lines".to_owned(),
            Self::Repeats => "repeats".to_owned(),
            Self::CommonWord => "common".to_owned(),
            Self::Short => "short".to_owned(),
            Self::Misfit(service) => format!("misfit:{}", service.id),
            Self::Elsewhere(service) => format!("elsewhere:{}", service.id),
        }
    }
}

/// A text that names no remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRemark;

impl FromStr for Remark {
    type Err = UnknownRemark;

    fn from_str(text: &str) -> Result<Self, UnknownRemark> {
        let service = |id: &str| find(id).ok_or(UnknownRemark);
        match text.split_once(':') {
            Some(("misfit", id)) => service(id).map(Self::Misfit),
            Some(("elsewhere", id)) => service(id).map(Self::Elsewhere),
            Some(_) => Err(UnknownRemark),
            None => [
                Self::Space,
                Self::Lines,
                Self::Repeats,
                Self::CommonWord,
                Self::Short,
            ]
            .into_iter()
            .find(|remark| remark.name() == text)
            .ok_or(UnknownRemark),
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Space => {
                "the value begins or ends with white space, which is saved as part of it"
            }
            Self::Lines => {
                "the value has several lines, which a header cannot carry; a key that was wrapped \
                 has to be one line"
            }
            Self::Repeats => {
                "the value repeats the same few characters: it is taken out only of answers to \
                 requests that use it, and not guarded in requests; a random one is better"
            }
            Self::CommonWord => {
                "the value is a common word: it is taken out only of answers to requests that use \
                 it, and not guarded in requests; a random one is better"
            }
            Self::Short => {
                "the value has fewer than 8 bytes: it is taken out only of answers to requests that \
                 use it, and not guarded in requests; a longer one is better"
            }
            Self::Misfit(service) => {
                return write!(
                    f,
                    "this hardly is a key of {}; it is saved all the same, as services change their \
                     keys",
                    service.name
                );
            }
            Self::Elsewhere(service) => {
                return write!(
                    f,
                    "this looks like a key of {}, and none of the hosts is one of its own",
                    service.name
                );
            }
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &[u8], service: Option<&'static Service>) -> Vec<String> {
        let remarks = remarks(value, service, &[]);
        remarks.into_iter().map(Remark::name).collect()
    }

    #[test]
    fn what_may_be_a_mistake_is_said_without_the_value() {
        for (value, expected) in [
            (&b"inner white space"[..], &[][..]),
            (b"long-enough-and-fine", &[]),
            (b"-----BEGIN KEY-----\nabc\n-----END KEY-----", &[]),
            (b" long-enough-and-fine", &["space"]),
            (b"long-enough-and-fine\t", &["space"]),
            (b"long-enough\nand-fine", &["lines"]),
            (b"PassWord", &["common"]),
            (b"aaaaaaaaaaaaaaaa", &["repeats"]),
            (b"k3X", &["short"]),
            (
                b"ghp_16C7e42F292c6912E7710c838347Ae178B4a",
                &["elsewhere:github"],
            ),
        ] {
            assert_eq!(names(value, None), expected, "{}", value.escape_ascii());
            for remark in remarks(value, None, &[]) {
                let again: Remark = remark.name().parse().expect("a remark");
                assert_eq!(again.to_string(), remark.to_string());
            }
        }
        let github = find("github");
        assert_eq!(names(b"not a key of theirs", github), ["misfit:github"]);
        for text in ["", "misfit:", "misfit:<script>", "space:github", "<script>"] {
            assert!(text.parse::<Remark>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_at_a_host_of_its_service_is_no_mistake() {
        let hosts = ["api.github.com".parse().expect("a host")];
        let key = b"ghp_16C7e42F292c6912E7710c838347Ae178B4a";
        assert!(remarks(key, None, &hosts).is_empty());
    }

    #[test]
    fn a_host_that_is_not_opened_is_noticed() {
        let pattern = |text: &str| text.parse::<HostPattern>().unwrap();
        let passthrough = ["*.pinned.example", "exact.example"].map(pattern);
        for (host, passed) in [
            ("a.pinned.example", true),
            ("*.pinned.example", true),
            ("exact.example", true),
            ("other.example", false),
            ("exact.example:8443", false),
        ] {
            let hosts = [pattern(host)];
            let found = passed_through(&hosts, &passthrough).count();
            assert_eq!(found, usize::from(passed), "{host}");
        }
    }
}
