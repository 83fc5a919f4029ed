//! A file with keys in it: how it is read, and how it is replaced.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use zeroize::Zeroizing;

use crate::files;
use crate::import::programs::{ProgramFile, Spot, rewritten};

/// Largest file, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// Bits of a mode that a file keeps.
const MODE: u32 = 0o7777;

/// A file of a program.
pub(super) struct Opened {
    /// Where it is, all links followed.
    pub(super) path: PathBuf,
    /// As people write it.
    pub(super) shown: String,
    /// What is in it.
    pub(super) spots: Vec<Spot>,
    kind: ProgramFile,
    content: Zeroizing<String>,
    mode: u32,
}

impl Opened {
    /// Reads a file; none if it is not there.
    pub(super) fn read(path: &Path, kind: ProgramFile) -> anyhow::Result<Option<Self>> {
        // A file that is kept elsewhere, and linked to, stays where it is.
        let Ok(path) = fs::canonicalize(path) else {
            return Ok(None);
        };
        let file = File::open(&path).context("it cannot be opened")?;
        let metadata = file.metadata()?;
        ensure!(metadata.is_file(), "it is not a file");
        ensure!(
            metadata.uid() == rustix::process::geteuid().as_raw(),
            "it belongs to another user"
        );
        let mut content = Zeroizing::new(String::new());
        file.take(LARGEST + 1)
            .read_to_string(&mut content)
            .context("it is not UTF-8 text")?;
        ensure!(content.len() as u64 <= LARGEST, "it is larger than 1 MiB");
        Ok(Some(Self {
            shown: shown(&path),
            spots: kind.find(&content)?,
            path,
            kind,
            content,
            mode: metadata.permissions().mode() & MODE,
        }))
    }

    /// Its content, as it was read.
    pub(super) fn content(&self) -> &[u8] {
        self.content.as_bytes()
    }

    /// Writes placeholders in place of keys. A reader finds the old file or the new one, with the same
    /// mode. Says whether one of the keys is in it a second time, where it was not found.
    ///
    /// # Errors
    /// When it was changed since it was read, or would not be read as it is meant. It is as it was then.
    pub(super) fn replace(&self, placeholders: &[(usize, String)]) -> anyhow::Result<bool> {
        let pairs: Vec<(&Spot, String)> = placeholders
            .iter()
            .map(|(number, placeholder)| (&self.spots[*number], placeholder.clone()))
            .collect();
        let text = Zeroizing::new(rewritten(&self.content, &pairs));
        let read = self.kind.find(&text)?;
        let is_meant = |(number, placeholder): &(usize, String)| {
            let spot = read.get(*number);
            spot.is_some_and(|spot| spot.row.value.expose() == placeholder.as_bytes())
        };
        if read.len() != self.spots.len() || !placeholders.iter().all(is_meant) {
            bail!("{}: a placeholder would not be read as one", self.shown);
        }
        let now = Zeroizing::new(fs::read(&self.path)?);
        ensure!(
            now.as_slice() == self.content(),
            "{} was changed meanwhile, and is left as it is",
            self.shown
        );
        files::replace(&self.path, text.as_bytes(), self.mode)
            .with_context(|| format!("{} cannot be replaced", self.shown))?;
        let is_left = |(spot, _): &(&Spot, String)| {
            memchr::memmem::find(text.as_bytes(), spot.row.value.expose()).is_some()
        };
        Ok(pairs.iter().any(is_left))
    }
}

/// A path as people write it: from their home directory on.
pub(super) fn shown(path: &Path) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home = home.and_then(|home| fs::canonicalize(home).ok());
    let inside = home.and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned));
    match inside {
        Some(inside) => format!("~/{}", inside.display()),
        None => path.display().to_string(),
    }
}
