//! The program itself: its environment, its signals, its exit status.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};

use crate::environment::variables::Changes;

/// Signals that a supervisor or a user sends to this process and means for the program.
const FORWARDED: [(SignalKind, Signal); 6] = [
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

pub(super) struct Process {
    child: Child,
    signals: Signals,
}

impl Process {
    pub(super) fn start(
        program: &OsStr,
        arguments: &[OsString],
        changes: &Changes,
        withheld: &[OsString],
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments);
        for name in &changes.remove {
            command.env_remove(name);
        }
        for name in withheld {
            command.env_remove(name);
        }
        // Set after they were removed: a withheld variable may be one that we set.
        command.envs(changes.set.iter().map(|(name, value)| (name, value)));
        // Signals first: one that comes in between must not end this process and leave the program.
        let signals = Signals::new()?;
        let child = command.spawn()?;
        Ok(Self { child, signals })
    }

    /// Its id, until it has ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the program's end and passes signals on until then.
    pub(super) async fn wait(&mut self) -> io::Result<ExitCode> {
        loop {
            tokio::select! {
                status = self.child.wait() => return status.map(exit_code),
                signal = self.signals.next() => self.forward(signal),
            }
        }
    }

    fn forward(&self, signal: Signal) {
        // Ctrl-C and Ctrl-\ reach the whole foreground group, the program included.
        if matches!(signal, Signal::INT | Signal::QUIT) && in_foreground() {
            return;
        }
        let pid = self
            .child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // It may have ended a moment ago.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Whether this process is in the foreground of a terminal.
fn in_foreground() -> bool {
    let foreground = || {
        let terminal = std::fs::File::open("/dev/tty").ok()?;
        tcgetpgrp(terminal).ok()
    };
    foreground() == Some(getpgrp())
}

struct Signals(Vec<(unix::Signal, Signal)>);

impl Signals {
    fn new() -> io::Result<Self> {
        let streams = FORWARDED.map(|(kind, signal)| unix::signal(kind).map(|it| (it, signal)));
        streams.into_iter().collect::<io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (stream, signal) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*signal);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// The program's own exit status; for a signal 128 + N, as shells have it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Says why the program was not started, and gives the exit status that shells give.
pub(super) fn not_started(program: &OsStr, error: &io::Error) -> ExitCode {
    eprintln!("error: cannot run {}: {error}", program.display());
    match error.kind() {
        io::ErrorKind::NotFound => ExitCode::from(127),
        _ => ExitCode::from(126),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(raw: i32) -> String {
        format!("{:?}", exit_code(ExitStatus::from_raw(raw)))
    }

    #[test]
    fn the_programs_status_is_ours() {
        assert_eq!(status(0), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(status(7 << 8), format!("{:?}", ExitCode::from(7)));
        assert_eq!(status(15), format!("{:?}", ExitCode::from(143)));
    }
}
