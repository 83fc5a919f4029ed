//! The connections of the admin listener.
//!
//! A connection is counted as a probe's until its first request is for something else. So a probe is
//! answered whatever people hold open, and the other way round.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::context::AdminContext;
use super::framing::{self, Owed};
use super::guard::{self, Ends};
use super::probes;
use super::problem::{AdminProblem, Trouble};
use crate::proxy::runtime::signal::HeadSignal;

/// Most connections of probes at once. Past them the oldest is closed: a probe is one short request,
/// so that one is most likely silent, and a probe that comes now is answered whatever others hold.
const PROBES: usize = 64;
/// Most connections of people at once.
const PEOPLE: usize = 256;
/// Most connections of people from one address. Behind a reverse proxy that is the proxy's.
const PEOPLE_OF_ADDRESS: usize = 128;
/// Longest life of a probe's connection.
const PROBE_LIFE: Duration = Duration::from_secs(10);
/// Longest life of a person's connection, with whatever streams on it.
const PERSON_LIFE: Duration = Duration::from_secs(3600);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the admin listener until the proxy has drained: a drain is watched through it.
pub async fn run(context: AdminContext, router: Router, listener: TcpListener) {
    let mut probing = VecDeque::<(AbortHandle, Arc<Connection>)>::new();
    let people = Arc::new(People::default());
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        probing.retain(|(task, connection)| !task.is_finished() && !connection.is_persons());
        if probing.len() == PROBES
            && let Some((oldest, _)) = probing.pop_front()
        {
            oldest.abort();
        }
        let connection = Arc::new(Connection {
            peer,
            is_persons: AtomicBool::new(false),
            people: Arc::clone(&people),
        });
        let served = serve(
            context.clone(),
            router.clone(),
            stream,
            Arc::clone(&connection),
        );
        // A connection that stalls or breaks off concerns no one else.
        let task = tokio::spawn(served);
        probing.push_back((task.abort_handle(), connection));
        // Many that come at once would otherwise push each other out before one was looked at.
        tokio::task::yield_now().await;
    }
}

/// The connections of people, by address.
#[derive(Default)]
struct People(Mutex<HashMap<IpAddr, usize>>);

/// A connection, and whether it is a person's.
struct Connection {
    peer: SocketAddr,
    is_persons: AtomicBool,
    people: Arc<People>,
}

impl Connection {
    fn is_persons(&self) -> bool {
        self.is_persons.load(Ordering::Acquire)
    }

    /// Counts the connection as a person's; `false` if there are too many.
    fn become_persons(&self) -> bool {
        if self.is_persons() {
            return true;
        }
        let mut count = self.people.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = count.values().sum();
        let own = count.entry(self.peer.ip()).or_default();
        if all >= PEOPLE || *own >= PEOPLE_OF_ADDRESS {
            if *own == 0 {
                count.remove(&self.peer.ip());
            }
            return false;
        }
        *own += 1;
        self.is_persons.store(true, Ordering::Release);
        true
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.is_persons() {
            return;
        }
        let mut count = self.people.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = count.get_mut(&self.peer.ip()) {
            *own -= 1;
            if *own == 0 {
                count.remove(&self.peer.ip());
            }
        }
    }
}

async fn serve(
    context: AdminContext,
    router: Router,
    stream: TcpStream,
    connection: Arc<Connection>,
) {
    let of_person = Arc::clone(&connection);
    let followed = context.state().followed.clone();
    let signal = HeadSignal::default();
    let guarded = framing::guarded(stream, &signal);
    let service = service_fn(move |request| {
        let (context, router) = (context.clone(), router.clone());
        let (connection, signal) = (Arc::clone(&connection), signal.clone());
        async move {
            let (in_flight, framed) = framing::read(&signal, &request);
            let answer = match framed {
                Ok(()) => answer(&context, router, request, &connection).await,
                Err(problem) => guard::unhandled(&context, problem),
            };
            let answer = match framing::broken(&signal) {
                Some(problem) => guard::unhandled(&context, problem),
                None => answer,
            };
            Ok::<_, Infallible>(answer.map(|body| Owed { body, in_flight }))
        }
    });
    let mut serving = std::pin::pin!(async {
        let mut serving = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(framing::HEAD_TIMEOUT)
                .max_buf_size(framing::BUFFER)
                .serve_connection(TokioIo::new(guarded), service)
        );
        tokio::select! {
            biased;
            _ = serving.as_mut() => {}
            () = followed.cancelled() => {
                // What is asked next is the other process's to answer.
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
        }
    });
    let begun = tokio::time::timeout(PROBE_LIFE, serving.as_mut()).await;
    if begun.is_err() && of_person.is_persons() {
        let _ = tokio::time::timeout(PERSON_LIFE, serving).await;
    }
}

async fn answer(
    context: &AdminContext,
    router: Router,
    mut request: Request<Incoming>,
    connection: &Connection,
) -> Response<Body> {
    if probes::is_probe(request.uri().path()) {
        return probes::answer(context.state(), &request).await;
    }
    if !connection.become_persons() {
        return guard::unhandled(context, full());
    }
    let ends = Ends {
        peer: connection.peer,
    };
    request.extensions_mut().insert(ends);
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// What the answer says where there are too many connections.
fn full() -> AdminProblem {
    let problem = AdminProblem::because(
        Trouble::Overloaded,
        "The admin listener has as many connections as it takes. Try again soon.",
    );
    problem.retry_after(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(people: &Arc<People>, peer: &str) -> Connection {
        Connection {
            peer: peer.parse().unwrap(),
            is_persons: AtomicBool::new(false),
            people: Arc::clone(people),
        }
    }

    #[test]
    fn people_are_counted_by_address_and_leave_room_when_they_go() {
        let people = Arc::default();
        let one: Vec<_> = (0..PEOPLE_OF_ADDRESS)
            .map(|_| connection(&people, "192.0.2.1:1"))
            .collect();
        assert!(one.iter().all(Connection::become_persons));
        // A second request of the same connection is not counted again.
        assert!(one[0].become_persons());
        assert!(!connection(&people, "192.0.2.1:2").become_persons());
        assert!(connection(&people, "192.0.2.2:1").become_persons());
        drop(one);
        assert!(connection(&people, "192.0.2.1:2").become_persons());
        assert!(people.0.lock().unwrap().is_empty());
    }
}
