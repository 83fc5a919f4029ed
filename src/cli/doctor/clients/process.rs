//! The process of a client.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How a client's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    With(Option<i32>),
    NotStarted,
    TooLate,
}

/// Runs a program to its end, and no longer than `patience`.
pub(super) async fn run(command: Command, patience: Duration) -> Ended {
    run_until(command, patience, std::future::pending()).await
}

/// Runs a client to its end, no longer than `patience`, and no longer than until it has `done` what was
/// asked for: an assistant would try again for minutes.
pub(super) async fn run_until(
    mut command: Command,
    patience: Duration,
    done: impl Future<Output = ()>,
) -> Ended {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What it started goes with it.
        .process_group(0)
        .kill_on_drop(true);
    let Ok(mut child) = command.spawn() else {
        return Ended::NotStarted;
    };
    let group = child.id();
    let ended = tokio::select! {
        status = child.wait() => Some(status),
        () = tokio::time::sleep(patience) => None,
        () = done => None,
    };
    match ended {
        Some(Ok(status)) => Ended::With(status.code()),
        Some(Err(_)) => Ended::NotStarted,
        None => {
            let group =
                group.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            Ended::TooLate
        }
    }
}
