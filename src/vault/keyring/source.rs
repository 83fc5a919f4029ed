//! Reads the master key from where it is kept.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use crate::files;
use crate::secret::SecretBytes;

/// Length of the master key in bytes.
pub const MASTER_KEY: usize = 32;

/// How long a key command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// More than any accepted form of a key, whitespace included.
const MAX_INPUT: u64 = 4096;

type Master = Zeroizing<[u8; MASTER_KEY]>;
type Input = Zeroizing<Vec<u8>>;

/// Where the master key comes from, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `file:PATH`, relative to the data directory; created on first start.
    File(PathBuf),
    /// `env:NAME`, an environment variable.
    Env(String),
    /// `command:CMD`, the standard output of a shell command (a password manager, a KMS client).
    Command(String),
    /// `systemd:NAME`, a systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Systemd(String),
}

/// A text that is no key source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key source is file:PATH, env:NAME, command:CMD or systemd:NAME")]
pub struct InvalidKeySource;

impl FromStr for KeySource {
    type Err = InvalidKeySource;

    fn from_str(text: &str) -> Result<Self, InvalidKeySource> {
        match text.split_once(':') {
            Some((_, "")) => Err(InvalidKeySource),
            Some(("file", path)) => Ok(KeySource::File(path.into())),
            Some(("env", name)) if !name.contains(['=', '\0']) => Ok(KeySource::Env(name.into())),
            Some(("command", command)) => Ok(KeySource::Command(command.into())),
            // One path component: the name must not lead out of the credentials directory.
            Some(("systemd", name)) if !name.contains('/') && name != "." && name != ".." => {
                Ok(KeySource::Systemd(name.into()))
            }
            _ => Err(InvalidKeySource),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File(path) => write!(f, "file:{}", path.display()),
            KeySource::Env(name) => write!(f, "env:{name}"),
            KeySource::Command(command) => write!(f, "command:{command}"),
            KeySource::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl KeySource {
    /// The key as bytes and as the source spells it, to look for copies of it. Empty where it cannot
    /// be read. A key command is not run: it may ask a person.
    pub fn copies(&self, data_dir: &Path) -> Vec<SecretBytes> {
        let input = match self {
            KeySource::File(path) => {
                let path = data_dir.join(path);
                read_file(&path, |file| check_private(&path, file)).ok()
            }
            KeySource::Env(name) => read_env(name).ok(),
            KeySource::Systemd(name) => read_systemd(name).ok(),
            KeySource::Command(_) => None,
        };
        let Some(input) = input else {
            return Vec::new();
        };
        let spelt = SecretBytes::new(input.trim_ascii().to_vec());
        let decoded = decode(&input).map(|key| SecretBytes::new(key.to_vec()));
        decoded.into_iter().chain([spelt]).collect()
    }

    /// Reads the key; the error is a sentence for a person.
    pub(super) async fn read(&self, data_dir: &Path) -> Result<Master, String> {
        let input = match self {
            KeySource::File(path) => read_or_create(&data_dir.join(path), data_dir)?,
            KeySource::Env(name) => read_env(name)?,
            KeySource::Command(command) => run(command).await?,
            KeySource::Systemd(name) => read_systemd(name)?,
        };
        parse(&input)
    }
}

/// The key in a file; `None` if there is no file. None is made.
pub(super) fn read_present(path: &Path) -> Result<Option<Master>, String> {
    match read_file(path, |file| check_private(path, file)) {
        Ok(input) => parse(&input).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn parse(input: &[u8]) -> Result<Master, String> {
    decode(input).ok_or_else(|| {
        "it is not 32 bytes in base64, hex or raw form; \
         `head -c 32 /dev/urandom | base64` makes a key"
            .to_owned()
    })
}

fn read_env(name: &str) -> Result<Input, String> {
    let value = std::env::var_os(name).ok_or_else(|| format!("the variable {name} is not set"))?;
    Ok(Zeroizing::new(value.into_encoded_bytes()))
}

fn read_systemd(name: &str) -> Result<Input, String> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(
        "CREDENTIALS_DIRECTORY is not set: give the unit a LoadCredential= or \
         LoadCredentialEncrypted= line and start Egret through systemd",
    )?;
    // The mode is not checked: systemd protects that directory, with a mode or with an ACL.
    let path = Path::new(&directory).join(name);
    read_file(&path, |_| Ok(())).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_or_create(path: &Path, data_dir: &Path) -> Result<Input, String> {
    let describe = |error: io::Error| format!("{}: {error}", path.display());
    match read_file(path, |file| check_private(path, file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if files::needs_its_master_key(data_dir) {
                return Err(format!(
                    "{} is missing, and only that key opens what {} holds. Put it back from a \
                     backup. If it is lost, its credentials are lost too: start with a new data \
                     directory",
                    path.display(),
                    data_dir.display()
                ));
            }
            create(path).map_err(describe)?;
            read_file(path, |file| check_private(path, file)).map_err(describe)
        }
        other => other.map_err(describe),
    }
}

/// Reads a small file after `check` of the open descriptor. A check of the path could be of another
/// file than the one that is read.
fn read_file(path: &Path, check: impl FnOnce(&File) -> io::Result<()>) -> io::Result<Input> {
    let file = File::open(path)?;
    check(&file)?;
    let mut input = Zeroizing::new(Vec::with_capacity(MAX_INPUT as usize));
    file.take(MAX_INPUT).read_to_end(&mut input)?;
    Ok(input)
}

/// Whether other users of the machine can read a file.
///
/// A group may read a key that belongs to root: Kubernetes gives a pod the files of a secret that
/// way, and only root can have put it there.
fn is_open(mode: u32, owner: u32) -> bool {
    let allowed = if owner == 0 { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed != 0
}

/// Refuses a key that other users of the machine can read, or that another user put there.
fn check_private(path: &Path, file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o777;
    if is_open(mode, metadata.uid()) {
        return Err(io::Error::other(format!(
            "its mode is {mode:04o}, so other users can read it. Run: chmod 600 '{}'; \
             if others may have seen it, treat the stored credentials as known to them",
            path.display()
        )));
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user && owner != 0 {
        return Err(io::Error::other(format!(
            "it belongs to user {owner}, who can read and replace it. Run: chown {user} '{}'",
            path.display()
        )));
    }
    Ok(())
}

/// Writes a new key. If two processes start at once, both use the key of the first.
pub(super) fn create(path: &Path) -> io::Result<()> {
    files::private_directory(path.parent().unwrap_or(Path::new("/")))?;
    let mut random = Zeroizing::new([0; MASTER_KEY]);
    aws_lc_rs::rand::fill(random.as_mut_slice())
        .map_err(|_| io::Error::other("the system gives no randomness"))?;
    // Room for all of it from the start: a buffer that grows would leave a copy of the key in
    // memory.
    let mut line = Zeroizing::new(String::with_capacity(64));
    STANDARD.encode_string(random.as_slice(), &mut line);
    line.push('\n');
    files::create_once(path, line.as_bytes(), files::PRIVATE)
}

/// Runs a key command. Its error output goes to Egret's own: it may ask for a second factor there.
async fn run(command: &str) -> Result<Input, String> {
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // A process group of its own, so that the deadline ends what the shell started, too.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the command could not be started: {error}"))?;
    let group = child.id();
    let mut input = Zeroizing::new(Vec::with_capacity(MAX_INPUT as usize));
    let reading = async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_INPUT).read_to_end(&mut input).await?;
        }
        child.wait().await
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, reading).await {
        Ok(Ok(status)) if status.success() => Ok(input),
        Ok(Ok(status)) => Err(format!("the command failed ({status})")),
        Ok(Err(error)) => Err(format!("the command could not be read: {error}")),
        Err(_) => {
            end_group(group);
            Err(format!(
                "the command took longer than {} s",
                COMMAND_TIMEOUT.as_secs()
            ))
        }
    }
}

fn end_group(group: Option<u32>) {
    let pid = group.and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    if let Some(pid) = pid {
        // It may have ended by itself a moment ago, and that is no error.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// Decodes 32 raw bytes, 64 hex digits, or base64 in either alphabet, padded or not.
fn decode(input: &[u8]) -> Option<Master> {
    if let Ok(raw) = <&[u8; MASTER_KEY]>::try_from(input) {
        return Some(Zeroizing::new(*raw));
    }
    let text = input.trim_ascii();
    if text.len() == 2 * MASTER_KEY {
        return decode_hex(text);
    }
    // A decoder may write a little past the end before it sees that the length is wrong.
    let mut buffer = Zeroizing::new([0; MASTER_KEY + 16]);
    [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
        .into_iter()
        .find_map(
            |engine| match engine.decode_slice(text, buffer.as_mut_slice()) {
                Ok(MASTER_KEY) => buffer.first_chunk().map(|key| Zeroizing::new(*key)),
                _ => None,
            },
        )
}

fn decode_hex(text: &[u8]) -> Option<Master> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut key = Zeroizing::new([0; MASTER_KEY]);
    for (byte, pair) in key.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn sources_are_parsed_and_written_back() {
        for good in [
            "file:master.key",
            "file:/etc/a:b",
            "env:KEY",
            "command:pass show x",
            "systemd:key",
        ] {
            assert_eq!(good.parse::<KeySource>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "file:",
            "env:",
            "env:A=B",
            "key",
            "http://x",
            "systemd:../x",
            "systemd:..",
        ] {
            assert_eq!(bad.parse::<KeySource>(), Err(InvalidKeySource), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_created_privately_and_read_again() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("state/egret");
        let source = KeySource::File("master.key".into());
        let first = source.read(&data).await.unwrap();
        let second = source.read(&data).await.unwrap();
        assert_eq!(*first, *second);
        assert_eq!(
            (mode(&data), mode(&data.join("master.key"))),
            (0o700, 0o600)
        );
        assert_eq!(
            fs::read_dir(&data).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    /// A new key would open nothing of what is there, and would be in the way of the old one.
    #[tokio::test]
    async fn no_key_is_made_where_one_is_missing() {
        let home = tempfile::tempdir().unwrap();
        let source = KeySource::File("master.key".into());
        fs::create_dir(home.path().join("ledger")).unwrap();
        fs::write(home.path().join("ledger/signing.key"), "sealed").unwrap();
        let error = source.read(home.path()).await.unwrap_err();
        assert!(
            error.contains("is missing") && error.contains("backup"),
            "{error}"
        );
        assert!(!home.path().join("master.key").exists());
    }

    #[test]
    fn the_first_of_two_starting_processes_makes_the_key() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("master.key");
        create(&path).unwrap();
        let first = fs::read(&path).unwrap();
        create(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
    }

    #[tokio::test]
    async fn a_readable_key_file_is_refused_with_the_command_that_fixes_it() {
        let home = tempfile::tempdir().unwrap();
        let source = KeySource::File("master.key".into());
        source.read(home.path()).await.unwrap();
        let path = home.path().join("master.key");
        for loose in [0o644, 0o604, 0o660] {
            fs::set_permissions(&path, Permissions::from_mode(loose)).unwrap();
            let error = source.read(home.path()).await.unwrap_err();
            assert!(
                error.contains(&format!("chmod 600 '{}'", path.display())),
                "{error}"
            );
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(source.read(home.path()).await.is_ok());
    }

    #[test]
    fn a_group_may_read_only_what_root_gave_it() {
        for (mode, owner, open) in [
            (0o400, 0, false),
            (0o440, 0, false),
            (0o640, 0, false),
            (0o460, 0, true),
            (0o444, 0, true),
            (0o600, 1000, false),
            (0o440, 1000, true),
        ] {
            assert_eq!(is_open(mode, owner), open, "{mode:o} of {owner}");
        }
    }

    #[tokio::test]
    async fn a_command_gives_a_key_or_a_reason() {
        let read = async |command: &str| {
            KeySource::Command(command.into())
                .read(Path::new("/"))
                .await
        };
        let hex = "0f".repeat(32);
        assert_eq!(*read(&format!("echo {hex}")).await.unwrap(), [0x0f; 32]);
        assert!(read("exit 3").await.unwrap_err().contains('3'));
        assert!(read("echo short").await.unwrap_err().contains("32 bytes"));
    }

    #[tokio::test]
    async fn an_unset_variable_is_named() {
        let error = KeySource::Env("EGRET_NO_SUCH_KEY".into())
            .read(Path::new("/"))
            .await;
        assert!(error.unwrap_err().contains("EGRET_NO_SUCH_KEY"));
    }

    proptest! {
        #[test]
        fn every_form_of_a_key_is_understood(key: [u8; 32]) {
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let forms = [
                hex.to_uppercase(),
                hex,
                STANDARD.encode(key),
                STANDARD_NO_PAD.encode(key),
                URL_SAFE.encode(key),
                URL_SAFE_NO_PAD.encode(key),
            ];
            prop_assert_eq!(*decode(&key).unwrap(), key);
            for form in forms {
                prop_assert_eq!(*decode(format!(" {form}\r\n").as_bytes()).unwrap(), key);
            }
        }

        #[test]
        fn nothing_else_is(input in prop::collection::vec(any::<u8>(), 0..31)) {
            prop_assert!(decode(&input).is_none());
        }
    }
}
