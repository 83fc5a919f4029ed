//! Those who wait for their lines to become durable, and how they hear of it.
//!
//! To wake a task from another thread is to wake its runtime, with a system call for each task. So
//! the writer hands each runtime all answers of a batch at once, and they are given out there.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::error::Answer;

/// One who waits. Dropped without an answer, it tells that there will be none.
pub(super) struct Waiter {
    answer: oneshot::Sender<Answer>,
    /// None on a thread without a runtime.
    runtime: Option<Handle>,
}

impl Waiter {
    /// One who waits here, and what it waits for.
    pub(super) fn new() -> (Self, oneshot::Receiver<Answer>) {
        let (answer, receiver) = oneshot::channel();
        let runtime = Handle::try_current().ok();
        (Self { answer, runtime }, receiver)
    }

    /// Whether it has given up.
    pub(super) fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }
}

/// Tells all of them.
pub(super) fn tell(waiters: impl Iterator<Item = Waiter>, answer: Answer) {
    let give = move |waiters: Vec<oneshot::Sender<Answer>>| {
        for waiter in waiters {
            // It may have given up.
            let _ = waiter.send(answer);
        }
    };
    let mut runtimes: Vec<(Option<Handle>, Vec<oneshot::Sender<Answer>>)> = Vec::new();
    for Waiter { answer, runtime } in waiters {
        let id = |runtime: &Option<Handle>| runtime.as_ref().map(Handle::id);
        let same = runtimes.iter_mut().find(|(r, _)| id(r) == id(&runtime));
        match same {
            Some((_, waiting)) => waiting.push(answer),
            None => runtimes.push((runtime, vec![answer])),
        }
    }
    for (runtime, waiting) in runtimes {
        match runtime {
            // A runtime that has ended drops them, and no task is left there that would wait.
            Some(runtime) if waiting.len() > 1 => drop(runtime.spawn(async move { give(waiting) })),
            _ => give(waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::ledger::writer::error::LedgerUnavailable;

    #[tokio::test]
    async fn all_hear_it_wherever_they_wait() {
        let elsewhere = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.unwrap();
            let made = runtime.block_on(async { [Waiter::new(), Waiter::new(), Waiter::new()] });
            (runtime, made)
        };
        let (runtime, there) = thread::spawn(elsewhere).join().unwrap();
        let nowhere = thread::spawn(Waiter::new).join().unwrap();
        let here = [Waiter::new(), Waiter::new()];
        let (waiters, receivers): (Vec<_>, Vec<_>) =
            there.into_iter().chain(here).chain([nowhere]).unzip();
        let answer = Err(LedgerUnavailable::WriteFailed);
        tell(waiters.into_iter(), answer);
        thread::spawn(move || runtime.block_on(tokio::task::yield_now()))
            .join()
            .unwrap();
        for receiver in receivers {
            assert_eq!(receiver.await, Ok(answer));
        }
    }

    #[tokio::test]
    async fn who_has_given_up_is_passed_over() {
        let (gone, receiver) = Waiter::new();
        drop(receiver);
        assert!(gone.is_gone());
        let (left, receiver) = Waiter::new();
        assert!(!left.is_gone());
        tell([gone, left].into_iter(), Ok(()));
        assert_eq!(receiver.await, Ok(Ok(())));
    }
}
