//! Open-loop pacing: request n is due at the start plus n periods, whatever the answers do, and its
//! latency counts from then. A client that waits for answers before it asks again would not see
//! the queue that it causes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Due times that all workers share; whichever is free takes the next.
pub struct Pace {
    start: Instant,
    period: Duration,
    next: AtomicU32,
    due: Semaphore,
}

impl Pace {
    /// From now on, for as long as anybody holds the result.
    ///
    /// A thread keeps the time: the grain of the runtime's own timers is a millisecond, which is
    /// longer than what is measured.
    pub fn start(per_second: u32) -> Arc<Self> {
        let pace = Arc::new(Self {
            start: Instant::now(),
            period: Duration::from_secs(1) / per_second,
            next: AtomicU32::new(0),
            due: Semaphore::new(0),
        });
        let followed = Arc::downgrade(&pace);
        thread::spawn(move || {
            for number in 0.. {
                let Some(pace) = followed.upgrade() else {
                    return;
                };
                thread::sleep(pace.at(number).saturating_duration_since(Instant::now()));
                pace.due.add_permits(1);
            }
        });
        pace
    }

    /// Waits until a request is due, and says when it was.
    pub async fn next(&self) -> Instant {
        match self.due.acquire().await {
            Ok(permit) => permit.forget(),
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
        self.at(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn at(&self, number: u32) -> Instant {
        self.start + self.period * number
    }
}
