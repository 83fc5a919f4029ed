//! Where clients went, as the lines of the ledger have it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::format::event;
use super::format::record_ref::RecordRef;
use super::format::timestamp::Timestamp;
use super::history::{History, Part};
use super::lines::{Next, RawLines};
use crate::error::Code;
use crate::policy::destination::{Destination, Scheme};
use crate::policy::egress::Asked;

/// How far back is looked for what rules may go by, in seconds: where clients went, the rules that would
/// fit, and what a new one would refuse. What a rule goes by is in the lines alone, not in the usage index,
/// and a month of them may take minutes to read.
pub const LOOK_BACK: i64 = 7 * 24 * 60 * 60;
/// Most trips that are told apart.
const MOST_TRIPS: usize = 5_000;

/// Trips that a rule would end, by client and destination, each with the time of the last one.
#[derive(Debug, Default)]
pub struct Ended(BTreeMap<(String, String), String>);

impl Ended {
    /// Counts a trip, whose last time is that of a line.
    pub fn add(&mut self, client: &str, destination: &Destination, last: String) {
        let known = self.0.entry((client.to_owned(), destination.to_string()));
        let known = known.or_default();
        // They are all written in the same way, so that the later one is the greater one.
        if *known < last {
            *known = last;
        }
    }

    /// A line for people on each.
    pub fn lines(&self) -> Vec<String> {
        let line = |((client, destination), last): (&(String, String), &String)| {
            let last = last.split('.').next().unwrap_or_default().replace('T', " ");
            format!("{client} to {destination}, last at {last} UTC")
        };
        self.0.iter().map(line).collect()
    }
}

/// What a client did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Went {
    /// The client.
    pub client: String,
    /// For whom it acted.
    pub principal: String,
    action: String,
    method: String,
    path: String,
    destination: String,
}

impl Went {
    /// What a line says; `None` if it is about no client or no destination.
    pub fn of(line: &RecordRef<'_>) -> Option<Self> {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Some(Self {
            client: line.client.as_deref()?.to_owned(),
            principal: text(line.principal.as_deref()),
            action: text(line.action.as_deref()),
            method: text(line.method.as_deref()),
            path: text(line.path.as_deref()),
            destination: line.destination.as_deref()?.to_owned(),
        })
    }

    /// What rules look at.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            method: &self.method,
            path: &self.path,
            action: &self.action,
        }
    }

    /// Where it went.
    pub fn destination(&self) -> Option<Destination> {
        parse(&self.destination)
    }
}

/// A destination as lines name it.
fn parse(text: &str) -> Option<Destination> {
    let (scheme, authority) = text.split_once("://")?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return None,
    };
    Destination::from_authority(scheme, authority).ok()
}

/// Which lines of the ledger count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Where clients went while that was only observed.
    Observed,
    /// With what was refused for want of a rule.
    ObservedOrRefused,
    /// Everything that was let through and is on record.
    WentThrough,
    /// Keys that clients brought.
    OwnKeys,
}

impl Kind {
    /// Whether a line is of this kind.
    pub fn wants(self, line: &RecordRef<'_>) -> bool {
        match self {
            Kind::Observed => line.event == event::DESTINATION,
            Kind::ObservedOrRefused => line.event == event::DESTINATION || is_refused(line),
            Kind::OwnKeys => line.event == event::OWN_KEY,
            Kind::WentThrough => line.event == event::DESTINATION || line.event == event::USE,
        }
    }
}

/// Whether a line says that a destination was refused for want of a rule.
fn is_refused(line: &RecordRef<'_>) -> bool {
    let code = line.code.as_deref();
    line.event == event::DENIED && code == Some(Code::DestinationNotAllowed.as_str())
}

/// Hands out the lines of a kind since a time (unix seconds), in their order.
///
/// # Errors
/// When the ledger in `dir` cannot be read.
pub fn each(
    dir: &Path,
    since: i64,
    kind: Kind,
    mut take: impl FnMut(&RecordRef<'_>),
) -> io::Result<()> {
    let since = Timestamp::from_unix_micros(since.saturating_mul(1_000_000));
    for part in History::open(dir)?.since(since) {
        read(part, since, None, |line| {
            if kind.wants(line) {
                take(line);
            }
        })?;
    }
    Ok(())
}

/// What clients did since a time (unix seconds), with when it was last on record.
///
/// # Errors
/// When the ledger in `dir` cannot be read.
pub fn recent(dir: &Path, since: i64, kind: Kind) -> io::Result<BTreeMap<Went, String>> {
    let mut found = BTreeMap::new();
    each(dir, since, kind, |line| {
        if let Some(went) = Went::of(line) {
            found.insert(went, line.time.to_string());
        }
    })?;
    Ok(found)
}

/// Hands out the lines of a file since a time; whether there was time for all of them.
fn read(
    part: &Part,
    since: Timestamp,
    until: Option<Instant>,
    mut take: impl FnMut(&RecordRef<'_>),
) -> io::Result<bool> {
    let mut lines = RawLines::new(part.open()?);
    let mut count = 0_u32;
    while let Next::Line(line) = lines.next_line()? {
        count = count.wrapping_add(1);
        let is_time_to_look = count.is_multiple_of(4096);
        if is_time_to_look && until.is_some_and(|until| Instant::now() > until) {
            return Ok(false);
        }
        let Ok(line) = RecordRef::parse(line) else {
            continue;
        };
        if line.time.parse().is_ok_and(|time: Timestamp| time >= since) {
            take(&line);
        }
    }
    Ok(true)
}

/// A client's action at a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The client.
    pub client: String,
    /// For whom it acts.
    pub principal: String,
    /// The action.
    pub action: String,
    /// `https://api.example.com:443`.
    pub destination: String,
}

impl Route {
    /// Where it leads.
    pub fn to(&self) -> Option<Destination> {
        parse(&self.destination)
    }
}

/// How often a route was taken, as far as lines have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trips {
    /// When it was first on record.
    pub first: Option<Timestamp>,
    /// When it was last.
    pub last: Option<Timestamp>,
    /// Uses of credentials.
    pub used: u64,
    /// Lines that say it was only observed: one for each start of the server.
    pub observed: u64,
    /// Refusals for want of a rule.
    pub refused: u64,
}

/// Where clients went.
#[derive(Clone, Debug, Default)]
pub struct Journeys {
    /// By client, action and host.
    pub routes: BTreeMap<Route, Trips>,
    /// Whether there was no time for older lines, or no room for other routes.
    pub is_cut: bool,
}

/// Where clients went since a time (unix seconds), the latest files first, within a time.
///
/// # Errors
/// When the ledger in `dir` cannot be read.
pub fn journeys(dir: &Path, since: i64, patience: Duration) -> io::Result<Journeys> {
    let since = Timestamp::from_unix_micros(since.saturating_mul(1_000_000));
    let until = Instant::now() + patience;
    let mut journeys = Journeys::default();
    for part in History::open(dir)?.since(since).iter().rev() {
        let is_whole = read(part, since, Some(until), |line| journeys.add(line))?;
        if !is_whole {
            journeys.is_cut = true;
            break;
        }
    }
    Ok(journeys)
}

impl Journeys {
    fn add(&mut self, line: &RecordRef<'_>) {
        let (used, observed) = (line.event == event::USE, line.event == event::DESTINATION);
        let refused = is_refused(line);
        if !(used || observed || refused) {
            return;
        }
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let (Some(client), Some(destination)) = (&line.client, &line.destination) else {
            return;
        };
        let route = Route {
            client: client.to_string(),
            principal: text(line.principal.as_deref()),
            action: text(line.action.as_deref()),
            destination: destination.to_string(),
        };
        if self.routes.len() >= MOST_TRIPS && !self.routes.contains_key(&route) {
            self.is_cut = true;
            return;
        }
        let trips = self.routes.entry(route).or_default();
        let time: Option<Timestamp> = line.time.parse().ok();
        trips.first = [trips.first, time].into_iter().flatten().min();
        trips.last = trips.last.max(time);
        trips.used += u64::from(used);
        trips.observed += u64::from(observed);
        trips.refused += u64::from(refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::entry::Entry;

    fn line(second: i64, event: &str, code: Option<&'static str>) -> Vec<u8> {
        let entry = Entry {
            client: Some("ci".into()),
            principal: Some("alice".into()),
            action: Some("report".into()),
            destination: Some("https://a.example:443".into()),
            code: code.map(Into::into),
            ..Entry::new(event)
        };
        let mut line = Vec::new();
        let time = Timestamp::from_unix_micros(second * 1_000_000);
        Chain::start().append(time, &entry.encode(), &mut line);
        line.pop();
        line
    }

    #[test]
    fn what_ends_is_a_line_for_each_client_and_destination() {
        let to = |host: &str| Destination::from_authority(Scheme::Https, host).unwrap();
        let mut ended = Ended::default();
        for (client, host, second) in [
            ("ci", "b.example", 2),
            ("ci", "b.example", 30),
            ("ci", "b.example", 4),
            ("ci", "a.example", 5),
        ] {
            let last = Timestamp::from_unix_micros(second * 1_000_000);
            ended.add(client, &to(host), last.to_string());
        }
        assert_eq!(
            ended.lines(),
            [
                "ci to https://a.example:443, last at 1970-01-01 00:00:05 UTC",
                "ci to https://b.example:443, last at 1970-01-01 00:00:30 UTC",
            ]
        );
    }

    #[test]
    fn lines_about_a_route_are_added_up() {
        let mut journeys = Journeys::default();
        for line in [
            line(2, event::USE, None),
            line(1, event::DESTINATION, None),
            line(3, event::DENIED, Some("destination_not_allowed")),
            line(4, event::DENIED, Some("credential_not_found")),
        ] {
            journeys.add(&RecordRef::parse(&line).unwrap());
        }
        let (route, trips) = journeys.routes.first_key_value().unwrap();
        assert_eq!(route.to().unwrap().to_string(), "https://a.example:443");
        assert_eq!((trips.used, trips.observed, trips.refused), (1, 1, 1));
        let seconds = |time: Option<Timestamp>| time.unwrap().unix_micros() / 1_000_000;
        assert_eq!((seconds(trips.first), seconds(trips.last)), (1, 3));
    }
}
