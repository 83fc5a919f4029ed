//! Thousands of tunnels: what they take while nothing happens in them, and what requests beside
//! them cost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::connections::futures_of_eight;
use super::{Scale, drive, get, lock, open};
use crate::client::Connection;
use crate::origin::PROOF;
use crate::process;
use crate::table::Figures;
use crate::target::{HOST, Route};

/// How long a proxy may take to come to rest.
const REST: Duration = Duration::from_secs(1);

/// Tunnels that have had one answer each and are kept open.
#[derive(Default)]
struct Crowd {
    held: Mutex<Vec<Connection>>,
    errors: AtomicU64,
}

impl Crowd {
    /// Opens more of them, eight at a time, until there are so many.
    async fn grow(&self, route: &Route, wanted: usize) {
        let request = &get(route, HOST, true)[..];
        let left = AtomicUsize::new(wanted - lock(&self.held).len());
        let left = &left;
        let worker = || async move {
            let take =
                || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            while take().is_ok() {
                match one(route, request).await {
                    Ok(connection) => lock(&self.held).push(connection),
                    Err(error) => {
                        if self.errors.fetch_add(1, Ordering::Relaxed) == 0 {
                            eprintln!("    a connection failed: {error:#}");
                        }
                    }
                }
            }
        };
        futures_of_eight(worker).await;
        tokio::time::sleep(REST).await;
    }
}

async fn one(route: &Route, request: &[u8]) -> Result<Connection> {
    let mut connection = Connection::tls(route, HOST, &route.connectors.full).await?;
    connection.exchange(request).await?.check(PROOF)?;
    connection.shrink();
    Ok(connection)
}

/// Resident memory without tunnels, with some, with many.
pub async fn memory(route: &Route, scale: Scale) -> Result<Figures> {
    let pid = route.pid.context("there is no proxy")?;
    let resident = || process::memory(pid).0 as f64 / 1024.0;
    let mut figures = [resident(), 0.0, 0.0];
    let crowd = Crowd::default();
    for (at, wanted) in scale.connections.into_iter().enumerate() {
        crowd.grow(route, wanted).await;
        figures[at + 1] = resident();
    }
    Ok(Figures {
        memory: Some(figures),
        errors: crowd.errors.into_inner(),
        ..Figures::default()
    })
}

/// Requests on 32 connections while many tunnels are open.
pub async fn requests(route: &Route, scale: Scale) -> Result<Figures> {
    let crowd = Crowd::default();
    let [.., many] = scale.connections;
    crowd.grow(route, many - 32).await;
    let request = get(route, HOST, true);
    let opened = open(route, 32, &request).await?;
    let figures = drive(route, scale, opened, None, request).await?;
    Ok(Figures {
        errors: figures.errors + crowd.errors.into_inner(),
        ..figures
    })
}
