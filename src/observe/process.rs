//! Closing the process: its memory, its files, and what its panics say.

use std::fmt::Write as _;

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask,
};

use super::redact;

/// Closes the process's memory and files to others: no core dump, no `ptrace` by the same user, and
/// files that other users can read only where a mode says so. A panic prints its place and no
/// message. Called once, before anything secret is read.
pub fn seal_process() {
    umask(Mode::RWXG | Mode::RWXO);
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // It fails only on a kernel that does not know it, where nothing else does the same.
    let _ = setrlimit(Resource::Core, nothing);
    seal_memory();
}

/// The part of [`seal_process`] that a program started from this process does not inherit.
pub fn seal_memory() {
    // As above.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    std::panic::set_hook(Box::new(|panic| {
        // The message is left out: it may quote the text that was being handled.
        let mut place = String::new();
        if let Some(location) = panic.location() {
            let _ = write!(place, "{}:{}", location.file(), location.line());
        }
        tracing::error!(place, "internal error: a task panicked");
        if !tracing::enabled!(tracing::Level::ERROR) {
            eprintln!(
                "{}",
                redact::redact(&format!("egret: internal error at {place}"))
            );
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Log, LogFormat};
    use crate::observe::log;
    use crate::scrub::Needles;
    use crate::secret::SecretBytes;

    const VALUE: &str = "canary/that+is=everywhere";

    /// What a process prints in which everything goes wrong at once.
    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    fn child_panics_with_a_value() {
        seal_process();
        let config = Log {
            format: LogFormat::Text,
            level: "trace".to_owned(),
        };
        log::init(&config).unwrap();
        let value = Arc::new(SecretBytes::new(VALUE.as_bytes().to_vec()));
        redact::know_all(1, Arc::new(Needles::new([("pat".to_owned(), value)])));
        tracing::error!(value = VALUE, text = ?VALUE, "quotes {VALUE}");
        tracing::trace!(target: "egret::proxy", "%63anary%2Fthat%2Bis%3Deverywhere");
        tracing::warn!(target: "hyper::proto", "parsing {}", VALUE.as_bytes().escape_ascii());
        let _ = std::thread::spawn(|| panic!("quotes {VALUE}")).join();
        panic!("{}", VALUE);
    }

    #[test]
    fn neither_a_log_line_nor_a_panic_quotes_a_value() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "observe::process::tests::child_panics_with_a_value",
            ])
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .env("RUST_BACKTRACE", "full")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(printed.contains("quotes <<pat>>"), "{printed}");
        assert!(printed.contains("a task panicked"), "{printed}");
        assert!(
            printed.contains("observe/process.rs"),
            "its place: {printed}"
        );
        assert!(!printed.contains("canary"), "{printed}");
        assert!(!printed.contains("anary%2F"), "{printed}");
        assert!(printed.matches("<<pat>>").count() >= 5, "{printed}");
    }
}
