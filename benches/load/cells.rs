//! The measurements: each puts one kind of load on a target for a bounded time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::SendRequest;
use memchr::{memchr, memmem};
use tokio::task::JoinSet;

use crate::client::{Connection, http2};
use crate::origin::{PROOF, nanos};
use crate::process::Cpu;
use crate::table::Figures;
use crate::target::{HOST, Route};

mod bulk;
mod connections;
mod crowd;
pub mod pace;

use connections::Handshake;
use pace::Pace;

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Of each measurement that runs for a time.
    duration: Duration,
    /// Before it, unmeasured.
    warmup: Duration,
    /// Of a bulk transfer.
    mebibytes: u64,
    /// At which memory is looked at.
    connections: [usize; 2],
    /// After which a measurement is given up.
    pub deadline: Duration,
}

impl Scale {
    /// For figures worth keeping.
    pub const FULL: Self = Self {
        duration: Duration::from_millis(2_500),
        warmup: Duration::from_millis(500),
        mebibytes: 512,
        connections: [1_000, 9_900],
        deadline: Duration::from_secs(120),
    };
    /// For a first look.
    pub const QUICK: Self = Self {
        duration: Duration::from_millis(700),
        warmup: Duration::from_millis(200),
        mebibytes: 64,
        connections: [100, 300],
        deadline: Duration::from_secs(30),
    };
}

impl Scale {
    /// The share of a run that is measured.
    pub fn measured(self) -> f64 {
        self.duration.as_secs_f64() / (self.warmup + self.duration).as_secs_f64()
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// Resident memory by connections.
    Memory,
    /// Closed loop: so many connections, with the value or without.
    Requests(usize, bool),
    /// The same with the value, while thousands of tunnels are open beside them.
    Crowded,
    /// Open loop: requests are due at fixed times whatever the answers do.
    Paced,
    /// Absolute-form requests in the clear.
    Plain,
    /// Streams inside tunnels.
    H2,
    /// A connection for each request.
    Warm,
    /// The same with TLS resumption.
    Resumed,
    /// A connection to a host that was never asked for before.
    Cold,
    /// All cold hosts at once: what requests to a warm one take meanwhile.
    Flood,
    /// One large request body; text with placeholders, or binary.
    Upload(bool),
    /// One large answer.
    Download,
    /// How long an event takes from origin to client.
    Events,
}

/// What the main figures are taken of.
pub const BUSY: Cell = Cell::Requests(32, true);
const BARE: Cell = Cell::Requests(32, false);

impl Cell {
    /// What the origin alone is asked for.
    pub const DIRECT: &[Self] = &[
        Self::Requests(1, true),
        BUSY,
        Self::Paced,
        Self::Plain,
        Self::H2,
        Self::Warm,
        Self::Resumed,
        Self::Upload(true),
        Self::Download,
        Self::Events,
    ];
    /// What the floor is asked for.
    pub const FLOOR: &[Self] = &[
        Self::Memory,
        Self::Requests(1, true),
        BUSY,
        BARE,
        Self::Crowded,
        Self::Requests(256, true),
        Self::Paced,
        Self::Plain,
        Self::H2,
        Self::Warm,
        Self::Resumed,
        Self::Cold,
        Self::Flood,
        Self::Upload(true),
        Self::Upload(false),
        Self::Download,
        Self::Events,
    ];
    /// What Egret is asked for.
    pub const EGRET: &[Self] = &[
        Self::Memory,
        Self::Requests(1, true),
        Self::Requests(1, false),
        BUSY,
        BARE,
        Self::Crowded,
        Self::Requests(256, true),
        Self::Requests(256, false),
        Self::Paced,
        Self::Plain,
        Self::H2,
        Self::Warm,
        Self::Resumed,
        Self::Cold,
        Self::Flood,
        Self::Upload(true),
        Self::Upload(false),
        Self::Download,
        Self::Events,
    ];
    /// With a durable ledger.
    pub const COMMIT: &[Self] = &[Self::Requests(1, true), BUSY, Self::Requests(256, true)];
    /// For a principal without credentials.
    pub const UNUSED: &[Self] = &[BARE, Self::Upload(true), Self::Download];
    /// With many credentials in the store.
    pub const STORED: &[Self] = &[BUSY, BARE, Self::Warm];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Requests(1, true) => "ka1",
            Self::Requests(1, false) => "bare1",
            Self::Requests(32, true) => "ka32",
            Self::Requests(32, false) => "bare32",
            Self::Requests(_, true) => "ka256",
            Self::Requests(_, false) => "bare256",
            Self::Crowded => "crowded",
            Self::Paced => "paced",
            Self::Plain => "plain",
            Self::H2 => "h2",
            Self::Warm => "warm",
            Self::Resumed => "resumed",
            Self::Cold => "cold",
            Self::Flood => "flood",
            Self::Upload(true) => "upload",
            Self::Upload(false) => "binary",
            Self::Download => "download",
            Self::Events => "events",
        }
    }

    /// Measures.
    pub async fn run(self, route: &Arc<Route>, scale: Scale) -> Result<Figures> {
        match self {
            Self::Memory => crowd::memory(route, scale).await,
            Self::Crowded => crowd::requests(route, scale).await,
            Self::Requests(connections, with_value) => {
                let request = get(route, HOST, with_value);
                keep_alive(route, scale, connections, None, request).await
            }
            Self::Paced => {
                let request = get(route, HOST, true);
                keep_alive(route, scale, 32, Some(2_000), request).await
            }
            Self::Plain => plain(route, scale).await,
            Self::H2 => h2(route, scale).await,
            Self::Warm => connections::new_connections(route, scale, Handshake::Full).await,
            Self::Resumed => connections::new_connections(route, scale, Handshake::Resumed).await,
            Self::Cold => connections::new_connections(route, scale, Handshake::Cold).await,
            Self::Flood => connections::flood(route, scale).await,
            Self::Upload(is_text) => bulk::upload(route, scale, is_text).await,
            Self::Download => bulk::download(route, scale).await,
            Self::Events => events(route, scale).await,
        }
    }
}

/// A request for `host`, in origin form.
pub fn get(route: &Route, host: &str, with_value: bool) -> Vec<u8> {
    let (path, authorization) = if with_value {
        let authorization = format!("Authorization: Bearer {}\r\n", route.written);
        ("/auth", authorization)
    } else {
        // The same bytes on the wire, and nothing to put in.
        ("/open", "X-Unrelated: Bearer 0123456789\r\n".to_owned())
    };
    let port = route.ports.tls;
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: load/1\r\nAccept: */*\r\n{authorization}\r\n"
    )
    .into_bytes()
}

/// The same over HTTP/2, with the value.
pub fn get_http2(route: &Route) -> Result<http::Request<Empty<Bytes>>> {
    let request = http::Request::get(format!("https://{HOST}:{}/auth", route.ports.tls))
        .header("authorization", format!("Bearer {}", route.written))
        .header("user-agent", "load/1");
    Ok(request.body(Empty::new())?)
}

/// Sends it and holds the answer to being the right one.
pub async fn exchange_http2(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: http::Request<Empty<Bytes>>,
) -> Result<()> {
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    let proved = memmem::find(&body, PROOF).is_some();
    ensure!(status == 200 && proved, "status {status}");
    Ok(())
}

/// Latencies of one worker, in nanoseconds; what it could not do, counted.
#[derive(Default)]
struct Tally {
    latencies: Vec<u32>,
    errors: u64,
    first: Option<String>,
}

impl Tally {
    fn took(&mut self, since: Instant) {
        let nanos = since.elapsed().as_nanos();
        self.latencies
            .push(u32::try_from(nanos).unwrap_or(u32::MAX));
    }

    fn failed(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first.get_or_insert_with(|| format!("{error:#}"));
    }

    fn note(&mut self, since: Instant, result: Result<()>) {
        match result {
            Ok(()) => self.took(since),
            Err(error) => self.failed(&error),
        }
    }

    fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.errors += other.errors;
        self.first = self.first.take().or(other.first);
    }

    fn figures(mut self, elapsed: Duration) -> Figures {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let last = self.latencies.len().saturating_sub(1) as f64;
            let found = self.latencies.get((last * share).round() as usize);
            found.map_or(f64::NAN, |nanos| f64::from(*nanos) / 1_000.0)
        };
        if let Some(first) = &self.first {
            eprintln!("    {} requests failed, the first: {first}", self.errors);
        }
        Figures {
            rate: Some(self.latencies.len() as f64 / elapsed.as_secs_f64()),
            count: self.latencies.len() as u64,
            latency: Some([at(0.5), at(0.99), at(0.999)]),
            errors: self.errors,
            ..Figures::default()
        }
    }
}

/// When workers record and when they stop.
#[derive(Default)]
struct Signal {
    recording: AtomicBool,
    stopped: AtomicBool,
}

impl Signal {
    fn records(&self) -> bool {
        self.recording.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Lets the workers run in, measures, and collects.
    async fn conduct(&self, route: &Route, scale: Scale, workers: JoinSet<Tally>) -> Figures {
        tokio::time::sleep(scale.warmup).await;
        let started = Instant::now();
        let before = Cpu::read(route);
        self.recording.store(true, Ordering::Relaxed);
        tokio::time::sleep(scale.duration).await;
        self.stopped.store(true, Ordering::Relaxed);
        let elapsed = started.elapsed();
        let cpu = Cpu::read(route).since(&before);
        Figures {
            cpu: Some(cpu),
            ..collect(workers).await.figures(elapsed)
        }
    }
}

async fn collect(mut workers: JoinSet<Tally>) -> Tally {
    let mut all = Tally::default();
    while let Some(joined) = workers.join_next().await {
        match joined {
            Ok(tally) => all.merge(tally),
            Err(error) => all.failed(&error.into()),
        }
    }
    all
}

async fn keep_alive(
    route: &Route,
    scale: Scale,
    connections: usize,
    per_second: Option<u32>,
    request: Vec<u8>,
) -> Result<Figures> {
    let opened = open(route, connections, &request).await?;
    drive(route, scale, opened, per_second, request).await
}

/// Connections that have had an answer.
async fn open(route: &Route, connections: usize, request: &[u8]) -> Result<Vec<Connection>> {
    let mut opened = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::tls(route, HOST, &route.connectors.full).await?;
        connection.exchange(request).await?.check(PROOF)?;
        opened.push(connection);
    }
    Ok(opened)
}

/// Closed loop, or open loop if requests are due at a rate.
async fn drive(
    route: &Route,
    scale: Scale,
    connections: Vec<Connection>,
    per_second: Option<u32>,
    request: Vec<u8>,
) -> Result<Figures> {
    let signal = Arc::new(Signal::default());
    let workers = ask(&signal, connections, per_second, request);
    Ok(signal.conduct(route, scale, workers).await)
}

/// Has each connection ask again and again until it is told to stop.
fn ask(
    signal: &Arc<Signal>,
    connections: Vec<Connection>,
    per_second: Option<u32>,
    request: Vec<u8>,
) -> JoinSet<Tally> {
    let request: Arc<[u8]> = request.into();
    let pace = per_second.map(Pace::start);
    let mut workers = JoinSet::new();
    for mut connection in connections {
        let (signal, request, pace) = (Arc::clone(signal), Arc::clone(&request), pace.clone());
        workers.spawn(async move {
            let mut tally = Tally::default();
            while !signal.is_over() {
                let started = match &pace {
                    None => Instant::now(),
                    Some(pace) => pace.next().await,
                };
                let records = signal.records();
                let exchanged = connection.exchange(&request).await;
                match exchanged.and_then(|answer| answer.check(PROOF)) {
                    Ok(()) if records && !signal.is_over() => tally.took(started),
                    Ok(()) => {}
                    Err(error) => {
                        tally.failed(&error);
                        break;
                    }
                }
            }
            tally
        });
    }
    workers
}

async fn plain(route: &Route, scale: Scale) -> Result<Figures> {
    let authority = format!("{HOST}:{}", route.ports.plain);
    let target = match route.proxy {
        Some(_) => format!("http://{authority}/auth"),
        None => "/auth".to_owned(),
    };
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: load/1\r\nAccept: */*\r\nAuthorization: Bearer {}\r\n{}\r\n",
        route.written,
        route.authorization(),
    );
    let mut opened = Vec::new();
    for _ in 0..32 {
        opened.push(Connection::plain(route).await?);
    }
    drive(route, scale, opened, None, request.into_bytes()).await
}

async fn h2(route: &Route, scale: Scale) -> Result<Figures> {
    let signal = Arc::new(Signal::default());
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        let sender = http2(route).await?;
        for _ in 0..16 {
            let (mut sender, signal) = (sender.clone(), Arc::clone(&signal));
            let request = get_http2(route)?;
            workers.spawn(async move {
                let mut tally = Tally::default();
                while !signal.is_over() {
                    let started = Instant::now();
                    let exchanged = exchange_http2(&mut sender, request.clone());
                    match exchanged.await {
                        Ok(()) if signal.records() && !signal.is_over() => tally.took(started),
                        Ok(()) => {}
                        Err(error) => {
                            tally.failed(&error);
                            break;
                        }
                    }
                }
                tally
            });
        }
    }
    Ok(signal.conduct(route, scale, workers).await)
}

async fn events(route: &Route, scale: Scale) -> Result<Figures> {
    let count = if scale.mebibytes < 128 { 100 } else { 400 };
    let mut connection = Connection::tls(route, HOST, &route.connectors.full).await?;
    let request = format!(
        "GET /sse?events={count}&ms=5 HTTP/1.1\r\nHost: {HOST}:{}\r\nAuthorization: Bearer {}\r\n\r\n",
        route.ports.tls, route.written
    );
    let started = Instant::now();
    connection.send(request.as_bytes()).await?;
    let mut tally = Tally::default();
    let mut text = Vec::new();
    while tally.latencies.len() < count {
        text.extend_from_slice(&connection.receive().await?);
        let now = nanos();
        while let Some((event, rest)) = event(&text) {
            let written: u128 = event.parse().context("the time of an event")?;
            let delay = now.saturating_sub(written);
            tally
                .latencies
                .push(u32::try_from(delay).unwrap_or(u32::MAX));
            text.drain(..rest);
        }
    }
    Ok(tally.figures(started.elapsed()))
}

/// The first event in the text, and where the text goes on behind it.
fn event(text: &[u8]) -> Option<(&str, usize)> {
    let start = memmem::find(text, b"data: ")? + 6;
    let end = start + memchr(b'\n', &text[start..])?;
    Some((std::str::from_utf8(&text[start..end]).ok()?, end))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
