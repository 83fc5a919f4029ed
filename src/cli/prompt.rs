//! A prompt that does not show what is typed. It leaves the terminal as it was, however it ends.

use std::fs::File;
use std::io;
use std::process;
use std::sync::OnceLock;
use std::thread;

use anyhow::Context as _;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

/// The signals that end a command, as Ctrl-C and a closed terminal do.
const ENDING: [SignalKind; 4] = [
    SignalKind::interrupt(),
    SignalKind::terminate(),
    SignalKind::hangup(),
    SignalKind::quit(),
];

/// What shells add to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// Asks for a text at the terminal, without showing it.
pub(super) fn hidden(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    // Once: the settings to go back to are those before the first prompt.
    static WATCHING: OnceLock<bool> = OnceLock::new();
    let is_watched = *WATCHING.get_or_init(|| watch_signals().is_ok());
    anyhow::ensure!(is_watched, "there is no terminal to ask at");
    match rpassword::prompt_password(prompt) {
        Ok(answer) => Ok(Zeroizing::new(answer)),
        // Ctrl-C. The library has put the settings back.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            process::exit(SIGNALLED + SignalKind::interrupt().as_raw_value())
        }
        Err(error) => Err(error).context("cannot read from the terminal"),
    }
}

/// Restores the terminal when a signal ends the command. Without it, the shell after the command
/// would not show what is typed.
fn watch_signals() -> io::Result<()> {
    let terminal = File::open("/dev/tty")?;
    let settings = tcgetattr(&terminal)?;
    let runtime = Builder::new_current_thread().enable_io().build()?;
    // Before the prompt is shown, so that no signal comes too early.
    let mut signals = {
        let _entered = runtime.enter();
        let streams = ENDING.map(|kind| signal(kind).map(|stream| (kind, stream)));
        streams.into_iter().collect::<io::Result<Vec<_>>>()?
    };
    let wait = move || {
        let kind = runtime.block_on(first(&mut signals));
        // What was typed and not read yet is dropped: it may be a part of the value, and the shell
        // would read it. At worst the terminal is gone.
        let _ = tcsetattr(&terminal, OptionalActions::Flush, &settings);
        eprintln!();
        process::exit(SIGNALLED + kind.as_raw_value());
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)?;
    Ok(())
}

async fn first(signals: &mut [(SignalKind, Signal)]) -> SignalKind {
    std::future::poll_fn(|context| {
        for (kind, stream) in &mut *signals {
            if stream.poll_recv(context).is_ready() {
                return std::task::Poll::Ready(*kind);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
