//! How long the end of a message waits for what follows it.
//!
//! A few bytes at the end of nearly every message could begin some form of some value. They are let
//! go at once where a message ends, and otherwise as soon as the upstream has been silent for
//! [`SILENCE`]. More than a few are suspicious: they wait for [`SUSPICION`].

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::scrub::Waiting;

/// The silence after which a few bytes are let go.
const SILENCE: Duration = Duration::from_millis(5);

/// The silence after which the beginning of a value is let go masked.
const SUSPICION: Duration = Duration::from_secs(1);

/// The silence of an upstream, while something waits for what follows it.
#[derive(Default)]
pub struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    /// Something came.
    pub fn end(&mut self) {
        self.0 = None;
    }

    /// Nothing came: completes once what is `waiting` has waited long enough. `ends_message` says
    /// that it is the end of a message.
    pub fn poll_over(
        &mut self,
        waiting: Waiting,
        ends_message: bool,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let limit = match waiting {
            Waiting::Nothing => return Poll::Pending,
            Waiting::Neighbour => return Poll::Ready(()),
            Waiting::Little if ends_message => return Poll::Ready(()),
            Waiting::Little => SILENCE,
            Waiting::Much => SUSPICION,
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep(limit)));
        let polled = sleep.as_mut().poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}
