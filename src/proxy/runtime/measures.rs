//! What the proxy measures beside how requests were answered: what was put in and taken out, how
//! upstreams do, and what is open.
//!
//! There is one for the process, because a handle on it would be counted for each request. Names of
//! credentials and destinations are bounded, and only what a credential is for gets a series of its
//! own: a client can name any number of hosts.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::error::Code;
use crate::ledger::first_uses::Aspect;
use crate::measure::Names;
use crate::measure::names::Name;
use crate::policy::location::Location;
use crate::proxy::runtime::origin::{OfDestination, Origin};

/// Most credentials that are counted by name.
const CREDENTIALS: usize = 512;
/// Most destinations that are. Each has a histogram, so each is twenty series.
const DESTINATIONS: usize = 64;

/// Those of this process.
pub fn measures() -> &'static Measures {
    static MEASURES: LazyLock<Measures> = LazyLock::new(Measures::default);
    &MEASURES
}

/// Declares a label: an enum, with the text of each of its values.
macro_rules! label {
    ($(#[$about:meta])* $name:ident { $( $(#[$what:meta])* $variant:ident = $text:literal, )* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$what])* $variant, )* }

        impl $name {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The label's value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl Label for $name {
            fn at(self) -> usize {
                self as usize
            }
        }
    };
}

/// A label of which there are few values.
trait Label: Copy {
    /// Which of them it is.
    fn at(self) -> usize;
}

label! {
    /// Where in a message something was.
    Place {
        /// A header field, or a trailer.
        Header = "header",
        /// The query.
        Query = "query",
        /// The path.
        Path = "path",
        /// The body.
        Body = "body",
        /// A message of a WebSocket.
        Message = "message",
        /// Elsewhere: the method, the status line, the action.
        Other = "other",
    }
}

label! {
    /// What a connection is for.
    Kind {
        /// HTTP to the proxy's port.
        Proxy = "proxy",
        /// SOCKS to the proxy's port.
        Socks = "socks",
        /// Redirected here by the network.
        Transparent = "transparent",
        /// A tunnel that is looked into.
        Tunnel = "tunnel",
        /// A tunnel that is not.
        Passthrough = "passthrough",
        /// A conversation over WebSocket.
        WebSocket = "websocket",
    }
}

label! {
    /// With whom there is a TLS handshake.
    Side {
        /// A client of the proxy.
        Client = "client",
        /// A destination.
        Upstream = "upstream",
    }
}

label! {
    /// How a handshake ended.
    Handshake {
        /// With a connection.
        Done = "done",
        /// Without one.
        Failed = "failed",
        /// Not in time.
        TimedOut = "timed_out",
    }
}

impl Place {
    /// The place of a placeholder.
    pub fn of(location: &Location) -> Self {
        match location {
            Location::Header(_) => Self::Header,
            Location::Query(_) => Self::Query,
            Location::Path => Self::Path,
            Location::Body(_) => Self::Body,
        }
    }

    /// The place that a ledger line names, such as `header:authorization`.
    pub fn named(text: &str) -> Self {
        match text.split(':').next() {
            Some("header" | "trailer") => Self::Header,
            Some("query") => Self::Query,
            Some("path") => Self::Path,
            Some("body") => Self::Body,
            Some("message") => Self::Message,
            _ => Self::Other,
        }
    }
}

impl Handshake {
    /// How a handshake ended for which there was a deadline.
    pub fn of<T, E, Late>(ended: &Result<Result<T, E>, Late>) -> Self {
        match ended {
            Ok(Ok(_)) => Self::Done,
            Ok(Err(_)) => Self::Failed,
            Err(_) => Self::TimedOut,
        }
    }
}

/// A count for each value of a label.
#[derive(Debug)]
pub struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

impl<const N: usize> Counts<N> {
    fn add(&self, at: usize, count: u64) {
        if let Some(counter) = self.0.get(at) {
            counter.fetch_add(count, Relaxed);
        }
    }

    /// The counts, in the order of the label's values.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|count| count.load(Relaxed))
    }

    /// All of them together.
    pub fn sum(&self) -> u64 {
        self.all().sum()
    }
}

const PLACES: usize = Place::ALL.len();
const KINDS: usize = Kind::ALL.len();

/// What is measured.
pub struct Measures {
    /// Uses of credentials, by place.
    pub substitutions: Counts<PLACES>,
    /// Values taken out of answers, by place.
    pub scrubbed: Counts<PLACES>,
    /// Requests that held a stored value themselves, by place.
    pub guarded: Counts<PLACES>,
    /// Uses of which something was new, by what.
    first_uses: Counts<{ Aspect::ALL.len() }>,
    /// The same by credential: its owner and its slug.
    pub credentials: Names<OfCredential>,
    /// How destinations answered.
    pub upstream: OfDestination,
    /// The same by destination, of those that credentials were sent to.
    pub destinations: Names<OfDestination>,
    /// Failures of destinations, by code.
    pub failures: Counts<{ Code::ALL.len() }>,
    /// TLS handshakes, by side and end.
    pub handshakes: [Counts<{ Handshake::ALL.len() }>; Side::ALL.len()],
    /// Connections since the start, by kind.
    pub opened: Counts<KINDS>,
    closed: Counts<KINDS>,
}

/// What is measured of a credential.
#[derive(Default)]
pub struct OfCredential {
    /// Its uses, by place.
    pub substitutions: Counts<PLACES>,
    /// How often it was taken out of an answer.
    pub scrubbed: AtomicU64,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            substitutions: Counts::default(),
            scrubbed: Counts::default(),
            guarded: Counts::default(),
            first_uses: Counts::default(),
            credentials: Names::of_at_most(CREDENTIALS),
            upstream: OfDestination::default(),
            destinations: Names::of_at_most(DESTINATIONS),
            failures: Counts::default(),
            handshakes: Default::default(),
            opened: Counts::default(),
            closed: Counts::default(),
        }
    }
}

impl Measures {
    /// A credential was put in at `location`.
    pub fn substituted(&self, credential: Name<'_>, location: &Location) {
        let place = Place::of(location).at();
        self.substitutions.add(place, 1);
        let of = self.credentials.add(credential);
        of.substitutions.add(place, 1);
    }

    /// How often something was new about a use, by its name in the ledger.
    pub fn first_uses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Aspect::ALL.iter().map(|aspect| aspect.as_str());
        names.zip(self.first_uses.all())
    }

    /// Something was new about a use.
    pub fn first_use(&self, aspect: Aspect) {
        self.first_uses.add(aspect as usize, 1);
    }

    /// A value was taken out of an answer, so often.
    pub fn scrub(&self, place: &str, times: usize) {
        self.scrubbed.add(Place::named(place).at(), times as u64);
    }

    /// A request held a stored value.
    pub fn guard(&self, place: &str) {
        self.guarded.add(Place::named(place).at(), 1);
    }

    /// A destination began its answer after so long. `is_credentialed`: a credential was sent to it.
    pub fn answered(&'static self, destination: &Origin, is_credentialed: bool, after: Duration) {
        self.upstream.latency.record(after);
        let of = self.destination(destination, is_credentialed);
        of.latency.record(after);
    }

    /// A destination did not answer.
    pub fn failed(&'static self, destination: &Origin, is_credentialed: bool, code: Code) {
        self.failures.add(code as usize, 1);
        let of = self.destination(destination, is_credentialed);
        of.failures.fetch_add(1, Relaxed);
    }

    fn destination(
        &'static self,
        origin: &Origin,
        is_credentialed: bool,
    ) -> &'static OfDestination {
        let (name, measured) = ([&**origin, ""], origin.measured());
        if is_credentialed {
            self.destinations.add_remembered(name, measured)
        } else {
            self.destinations.find_remembered(name, measured)
        }
    }

    /// A TLS handshake came to its end.
    pub fn shaken(&self, side: Side, how: Handshake) {
        self.handshakes[side.at()].add(how.at(), 1);
    }

    /// A connection of this kind is open, until the result is dropped.
    pub fn open(&'static self, kind: Kind) -> Open {
        self.opened.add(kind.at(), 1);
        Open {
            measures: self,
            kind,
        }
    }

    /// How many connections of each kind are open.
    pub fn open_now(&self) -> impl Iterator<Item = u64> {
        // The later one is read first, so that none is less than nothing.
        let closed: Vec<u64> = self.closed.all().collect();
        let opened = self.opened.all();
        opened
            .zip(closed)
            .map(|(opened, closed)| opened.saturating_sub(closed))
    }
}

/// An open connection.
pub struct Open {
    measures: &'static Measures,
    kind: Kind,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.measures.closed.add(self.kind.at(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::destination::{Destination, Scheme};

    #[test]
    fn a_host_gets_a_series_by_a_credential_and_not_by_being_named() {
        let measures: &'static Measures = Box::leak(Box::default());
        let second = Duration::from_secs(1);
        let origin = |host: &str| {
            let destination = Destination::from_authority(Scheme::Https, host);
            Origin::from(&destination.expect("a destination"))
        };
        let (named, api) = (origin("named.test"), origin("api.test"));
        measures.answered(&named, false, second);
        measures.answered(&api, true, second);
        measures.answered(&api, false, second);
        measures.failed(&api, false, Code::UpstreamTimeout);
        let each = measures.destinations.each();
        let [(name, of)] = each[..] else {
            panic!("one destination")
        };
        assert_eq!(name[0], "https://api.test:443");
        assert_eq!(of.latency.snapshot().count(), 2);
        assert_eq!(of.failures.load(Relaxed), 1);
        assert_eq!(measures.upstream.latency.snapshot().count(), 3);
        let others = measures.destinations.others();
        assert_eq!(others.latency.snapshot().count(), 1);
        assert_eq!(measures.failures.sum(), 1);
    }

    #[test]
    fn connections_count_until_they_are_dropped() {
        let measures: &'static Measures = Box::leak(Box::default());
        let open = measures.open(Kind::Tunnel);
        let of_tunnels = |all: Vec<u64>| all[Kind::Tunnel.at()];
        assert_eq!(of_tunnels(measures.open_now().collect()), 1);
        drop(open);
        assert_eq!(of_tunnels(measures.open_now().collect()), 0);
        assert_eq!(of_tunnels(measures.opened.all().collect()), 1);
    }

    #[test]
    fn places_are_told_by_what_the_ledger_calls_them() {
        let places = [
            ("header:authorization", Place::Header),
            ("trailer:x-sum", Place::Header),
            ("body:/auth/token", Place::Body),
            ("message", Place::Message),
            ("status", Place::Other),
        ];
        for (text, place) in places {
            assert_eq!(Place::named(text), place, "{text}");
        }
    }
}
