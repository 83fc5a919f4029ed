//! How requests are treated, by destination: the rules, and their result for one destination.

use std::borrow::Cow;
use std::sync::Arc;

use crate::policy::destination::Destination;
use crate::policy::grant::HostPattern;
use crate::policy::requirement::RequestPattern;

/// A rule for some destinations. A property that it does not set is taken from a later rule.
#[derive(Clone, Debug)]
pub struct DestinationRule {
    /// The destinations it covers. Never empty.
    pub hosts: Vec<HostPattern>,
    /// The places that are searched for placeholders.
    pub scan: Option<Vec<ScanPlace>>,
    /// What a placeholder does that cannot be used.
    pub unresolved: Option<Unresolved>,
    /// What happens to `Range` where a value may be.
    pub range: Option<Range>,
    /// What a request does that carries a stored value in the clear.
    pub exposed: Option<Exposed>,
    /// Whether a request needs a value that Egret puts in.
    pub require: Option<bool>,
    /// Requests that need none.
    pub require_except: Option<Arc<[RequestPattern]>>,
    /// What a request does that brings a key which Egret does not hold.
    pub own_keys: Option<OwnKeys>,
    /// Fields of a body that owners see who are asked about a request.
    pub approval_fields: Option<Arc<[String]>>,
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

/// What happens to `Range` and `If-Range` of a request to a host where a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Range {
    /// They are taken out: an answer in slices could not be searched for a value.
    #[default]
    Strip,
    /// They are sent.
    Allow,
}

/// What a request does that carries a stored value itself, not its placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Exposed {
    /// The request is refused: its sender should not have the value.
    #[default]
    Reject,
    /// It is sent. For a destination whose clients rightly hold the value themselves.
    Allow,
}

/// What a request does that brings a key which Egret does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OwnKeys {
    /// Nobody looks.
    #[default]
    Off,
    /// It is sent, and the ledger says where the key was, never what it is.
    Observe,
    /// The request is refused.
    Refuse,
}

/// How requests to one destination are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// The places that are searched for placeholders.
    pub scan: Cow<'static, [ScanPlace]>,
    /// What a placeholder does that cannot be used.
    pub unresolved: Unresolved,
    /// What happens to `Range` where a value may be.
    pub range: Range,
    /// What a request does that carries a stored value in the clear.
    pub exposed: Exposed,
    /// Whether a request needs a value that Egret puts in.
    pub require: bool,
    /// Requests that need none.
    pub require_except: Option<Arc<[RequestPattern]>>,
    /// What a request does that brings a key which Egret does not hold.
    pub own_keys: OwnKeys,
    /// Fields of a body that owners see who are asked about a request.
    pub approval_fields: Option<Arc<[String]>>,
}

impl Treatment {
    /// Whether it asks for more than that the placeholders of a request may be used.
    pub fn is_demanding(&self) -> bool {
        self.require || self.own_keys != OwnKeys::Off
    }
}

pub(super) fn treatment(
    rules: &[DestinationRule],
    destination: &Destination,
    own_keys_elsewhere: OwnKeys,
) -> Treatment {
    let (mut scan, mut unresolved, mut range, mut exposed) = (None, None, None, None);
    let (mut require, mut require_except, mut own_keys) = (None, None, None);
    let mut approval_fields = None;
    for rule in rules {
        // The first rule that sets a property decides it.
        if rule.hosts.iter().any(|host| host.matches(destination)) {
            scan = scan.or(rule.scan.as_ref());
            unresolved = unresolved.or(rule.unresolved);
            range = range.or(rule.range);
            exposed = exposed.or(rule.exposed);
            require = require.or(rule.require);
            require_except = require_except.or(rule.require_except.as_ref());
            own_keys = own_keys.or(rule.own_keys);
            approval_fields = approval_fields.or(rule.approval_fields.as_ref());
        }
    }
    let require = require.unwrap_or_default();
    // A value put in beside a key of the client's own would prove nothing.
    let own_keys_otherwise = if require {
        OwnKeys::Refuse
    } else {
        own_keys_elsewhere
    };
    Treatment {
        scan: scan.map_or(Cow::Borrowed(ScanPlace::ALL), |scan| scan.clone().into()),
        unresolved: unresolved.unwrap_or_default(),
        range: range.unwrap_or_default(),
        exposed: exposed.unwrap_or_default(),
        require,
        require_except: require_except.filter(|_| require).cloned(),
        own_keys: own_keys.unwrap_or(own_keys_otherwise),
        approval_fields: approval_fields.cloned(),
    }
}
