//! What only shows in a shell and at a terminal: completions, and the prompt that hides a value.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use crate::needs::{Need, needs};
use crate::world::{EGRET, HOST, finish};
use crate::{eventually, within};

/// A program at a terminal of its own, which `script` makes.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn run(home: &Path, path: &Path, command: &str) -> Self {
        let mut child = bare("script", home, path)
            .args(["-q", "-e", "-c", command, "/dev/null"])
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .spawn()
            .expect("script");
        let keys = child.stdin.take().expect("stdin");
        let mut screen = child.stdout.take().expect("stdout");
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let copy = shown.clone();
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes).await {
                copy.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, keys, shown }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    async fn until_shown(&self, text: &str) {
        eventually(&format!("{text:?} on the terminal"), || {
            self.shown().contains(text).then_some(())
        })
        .await;
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.expect("press");
        self.keys.flush().await.expect("press");
    }

    /// Waits for the end of the program and gives what was shown.
    async fn ended(mut self) -> String {
        within("the program to end", self.child.wait())
            .await
            .expect("wait");
        self.shown()
    }
}

fn bare(program: &str, home: &Path, path: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", home)
        .env("LANG", "C.UTF-8")
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A home directory with a completion script, and an `egret` on the path that notes each call.
struct Shell {
    home: tempfile::TempDir,
    path: PathBuf,
}

impl Shell {
    async fn with_completions(shell: &str, file: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().expect("a directory");
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).expect("a directory");
        let egret = bin.join("egret");
        let calls = home.path().join("calls");
        let text = format!("#!/bin/sh\necho \"$@\" >> {}\n", calls.display());
        std::fs::write(&egret, text).expect("write");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&egret, executable).expect("chmod");
        let system = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{system}", bin.display()).into();
        let mut command = bare(EGRET, home.path(), Path::new(&system));
        command.args(["completions", shell]);
        let script = finish(command, b"").await.ok();
        std::fs::write(home.path().join(file), script).expect("write");
        Self { home, path }
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    async fn run(&self, program: &str, args: &[&str]) -> String {
        let mut command = bare(program, self.home(), &self.path);
        command.args(args);
        let output = finish(command, b"").await;
        assert_eq!(output.stderr, "", "{output:#?}");
        output.ok()
    }

    /// Reading a completion script, and completing, runs nothing of Egret's.
    fn assert_nothing_ran(&self) {
        let calls = std::fs::read_to_string(self.home().join("calls"));
        assert!(calls.is_err(), "the completions ran egret {calls:?}");
    }
}

const VALUES: [&str; 4] = ["sh", "fish", "powershell", "dotenv"];

#[tokio::test]
async fn completions_of_fish_are_offered_and_run_nothing() {
    needs!(Need::Program("fish"));
    let shell = Shell::with_completions("fish", "egret.fish").await;
    let complete = async |line: &str| {
        let script = format!("source egret.fish; complete -C '{line}'");
        shell.run("fish", &["--no-config", "-c", &script]).await
    };
    let offered = complete("egret env --format ").await;
    let names: Vec<&str> = offered
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    for value in VALUES {
        assert!(names.contains(&value), "no {value} in {names:?}");
    }
    assert!(complete("egret ").await.contains("serve\t"));
    assert!(complete("egret ledger tail --ev").await.contains("--event"));
    assert!(
        complete("egret ledger export --format ")
            .await
            .contains("json")
    );
    shell.assert_nothing_ran();
}

#[tokio::test]
async fn completions_of_bash_are_offered_and_run_nothing() {
    needs!(Need::Program("bash"));
    let shell = Shell::with_completions("bash", "egret.bash").await;
    let script = "source ./egret.bash; COMP_WORDS=(egret env --format ''); COMP_CWORD=3; \
                  _egret egret '' --format; echo \"${COMPREPLY[@]}\"";
    let offered = shell
        .run("bash", &["--norc", "--noprofile", "-c", script])
        .await;
    for value in VALUES {
        assert!(
            offered.split_whitespace().any(|it| it == value),
            "{offered}"
        );
    }
    shell.assert_nothing_ran();
}

#[tokio::test]
async fn completions_of_zsh_are_offered_and_run_nothing() {
    needs!(Need::Program("zsh"), Need::Program("script"));
    let shell = Shell::with_completions("zsh", "_egret").await;
    let rc = format!(
        "fpath=({home} $fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=0; PS1='ready> '\n",
        home = shell.home().display()
    );
    std::fs::write(shell.home().join("rc"), rc).expect("write");
    let mut terminal = Terminal::run(shell.home(), &shell.path, "zsh -f -i");
    terminal.press("source ./rc\n").await;
    terminal.until_shown("ready> ").await;
    terminal.press("egret env --format \t").await;
    for value in VALUES {
        terminal.until_shown(value).await;
    }
    terminal.until_shown("POSIX shells").await;
    terminal.press("\u{15}egret ledger tail --eve\t").await;
    terminal.until_shown("--event").await;
    terminal.press("\u{15}exit\n").await;
    let shown = terminal.ended().await;
    for complaint in ["eval", "error", "missing"] {
        assert!(!shown.contains(complaint), "{shown}");
    }
    shell.assert_nothing_ran();
}

/// Runs `credential add` at a terminal, does `interrupt` at the hidden prompt, and asserts that the
/// terminal shows again what is typed.
async fn echo_is_back_after(
    status: i32,
    interrupt: impl AsyncFnOnce(&mut Terminal, Pid),
) -> String {
    let home = tempfile::tempdir().expect("a directory");
    let system = std::env::var_os("PATH").unwrap_or_default();
    let pid_file = home.path().join("pid");
    let add = format!(
        "sh -c 'echo $$ > {}; exec {EGRET} credential add pat --host {HOST}'",
        pid_file.display()
    );
    // A shell of its own, so that Ctrl-C ends the command and not the shell.
    let command = format!("trap : INT; {add}; echo status=$?; stty -a");
    let mut terminal = Terminal::run(home.path(), Path::new(&system), &command);
    terminal.until_shown("(not shown)").await;
    let pid = std::fs::read_to_string(&pid_file).expect("written before");
    let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("a pid");
    interrupt(&mut terminal, pid).await;
    let shown = terminal.ended().await;
    assert!(shown.contains(&format!("status={status}")), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let settings: Vec<&str> = shown.split_whitespace().collect();
    for setting in ["echo", "icanon", "isig"] {
        assert!(settings.contains(&setting), "{setting} is off: {shown}");
    }
    shown
}

#[tokio::test]
async fn ctrl_c_at_the_hidden_prompt_leaves_the_terminal_as_it_was() {
    needs!(Need::Program("script"));
    echo_is_back_after(130, async |terminal, _| {
        terminal.press("hunter2-is-not-shown\u{3}").await;
    })
    .await;
}

#[tokio::test]
async fn a_signal_at_the_hidden_prompt_leaves_the_terminal_as_it_was() {
    needs!(Need::Program("script"));
    for (signal, status) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        echo_is_back_after(status, async |_, pid| {
            kill_process(pid, signal).expect("a signal");
        })
        .await;
    }
}

#[tokio::test]
async fn a_value_typed_twice_is_saved_and_never_shown() {
    needs!(Need::Program("script"));
    let home = tempfile::tempdir().expect("a directory");
    let system = std::env::var_os("PATH").unwrap_or_default();
    let command = format!("{EGRET} credential add pat --host {HOST}; stty -a");
    let mut terminal = Terminal::run(home.path(), Path::new(&system), &command);
    terminal.until_shown("(not shown)").await;
    terminal.press("hunter2-typed\n").await;
    terminal.until_shown("Once more").await;
    terminal.press("hunter2-typed\n").await;
    let shown = terminal.ended().await;
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.split_whitespace().any(|word| word == "echo"),
        "{shown}"
    );
    let mut list = bare(EGRET, home.path(), Path::new(&system));
    list.args(["credential", "list"]);
    assert!(finish(list, b"").await.ok().contains("pat"));
}

#[tokio::test]
async fn adopt_asks_about_each_key_and_shows_none() {
    needs!(Need::Program("script"));
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join(".netrc");
    let key = |name: &str| format!("key-of-{name}-0123456789");
    let netrc = ["a", "b", "c"]
        .map(|name| format!("machine {name}.example login me password {}\n", key(name)));
    std::fs::write(&file, netrc.concat()).expect("written");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut terminal = Terminal::run(home.path(), Path::new(&path), &format!("{EGRET} adopt"));
    for (question, answer) in [
        ("write <<a-example>> in its place? [y/N/q]", "n\n"),
        ("write <<b-example>> in its place? [y/N/q]", "y\n"),
        ("write <<c-example>> in its place? [y/N/q]", "q\n"),
    ] {
        terminal.until_shown(question).await;
        terminal.press(answer).await;
    }
    let shown = terminal.ended().await;
    assert!(shown.contains("--remove-backups"), "{shown}");
    assert!(!shown.contains("0123456789"), "{shown}");
    let expected = netrc.concat().replace(&key("b"), "<<b-example>>");
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), expected);
}
