//! How requests are treated, by destination: the rules, and what they come to for one destination.

use std::borrow::Cow;

use crate::policy::destination::Destination;
use crate::policy::grant::HostPattern;

/// A rule for some destinations. What it leaves open, a later rule may say.
#[derive(Clone, Debug)]
pub struct DestinationRule {
    /// The destinations it covers. Never empty.
    pub hosts: Vec<HostPattern>,
    /// The places that are searched for placeholders.
    pub scan: Option<Vec<ScanPlace>>,
    /// What a placeholder does that cannot be used.
    pub unresolved: Option<Unresolved>,
    /// What happens to `Range` when a value is used.
    pub range: Option<Range>,
    /// What a request does that carries a stored value in the clear.
    pub exposed: Option<Exposed>,
}

/// A part of a request that can be searched for placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanPlace {
    /// Header fields and trailers.
    Header,
    /// The query string.
    Query,
    /// The path.
    Path,
    /// The body.
    Body,
}

impl ScanPlace {
    /// Every place.
    pub const ALL: &'static [ScanPlace] = &[
        ScanPlace::Header,
        ScanPlace::Query,
        ScanPlace::Path,
        ScanPlace::Body,
    ];
}

/// What a placeholder does that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unresolved {
    /// The request is refused.
    #[default]
    Reject,
    /// It travels literally, and the ledger says so.
    Ignore,
}

/// What happens to `Range` and `If-Range` of a request that uses a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Range {
    /// They are taken out: an answer in slices could not be searched for the value.
    #[default]
    Strip,
    /// They are sent.
    Allow,
}

/// What a request does that carries a stored value itself, not its placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Exposed {
    /// The request is refused: whoever sent it should not have the value.
    #[default]
    Reject,
    /// It is sent. For a destination whose clients rightly hold the value themselves.
    Allow,
}

/// How requests to one destination are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// The places that are searched for placeholders.
    pub scan: Cow<'static, [ScanPlace]>,
    /// What a placeholder does that cannot be used.
    pub unresolved: Unresolved,
    /// What happens to `Range` when a value is used.
    pub range: Range,
    /// What a request does that carries a stored value in the clear.
    pub exposed: Exposed,
}

pub(super) fn treatment(rules: &[DestinationRule], destination: &Destination) -> Treatment {
    let (mut scan, mut unresolved, mut range, mut exposed) = (None, None, None, None);
    for rule in rules {
        // What the rules before have settled they have settled.
        if rule.hosts.iter().any(|host| host.matches(destination)) {
            scan = scan.or(rule.scan.as_ref());
            unresolved = unresolved.or(rule.unresolved);
            range = range.or(rule.range);
            exposed = exposed.or(rule.exposed);
        }
    }
    Treatment {
        scan: scan.map_or(Cow::Borrowed(ScanPlace::ALL), |scan| scan.clone().into()),
        unresolved: unresolved.unwrap_or_default(),
        range: range.unwrap_or_default(),
        exposed: exposed.unwrap_or_default(),
    }
}
