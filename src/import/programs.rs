//! Keys that lie in files of other programs: where each is, and what is written in its place.
//!
//! Each format is read as its program reads it, and nothing of the file is changed but the bytes of a
//! key: comments, order and line ends stay. What a placeholder has to look like there (quoted,
//! percent-encoded, inside of base64) is known where the key is found. Pure.

mod cargo;
mod docker;
mod dotenv;
mod ini;
mod kind;
mod netrc;
mod npmrc;
mod shown;
mod spot;
mod urls;
mod yaml;

pub use self::kind::{IN_HOME, IN_PROJECT, ProgramFile};
pub use self::shown::shown;
pub use self::spot::{Spot, rewritten};
use super::error::ImportError;

impl ProgramFile {
    /// The keys of a file, and the placeholders that are there already, in their order.
    ///
    /// # Errors
    /// Where the file cannot be read; nothing of its content.
    pub fn find(self, content: &str) -> Result<Vec<Spot>, ImportError> {
        let mut spots = match self {
            Self::Netrc => netrc::find(content),
            Self::GitCredentials | Self::Pip => urls::find(content),
            Self::GitHubCli => yaml::gh(content),
            Self::Npm => npmrc::find(content),
            Self::Docker => docker::find(content)?,
            Self::Aws => ini::aws(content),
            Self::Kubernetes => yaml::kubernetes(content),
            Self::Cargo => cargo::find(content)?,
            Self::Pypi => ini::pypirc(content),
            Self::Dotenv => dotenv::find(content)?,
        };
        spots.retain(|spot| !spot.is_reference());
        spots.sort_by_key(|spot| spot.range().start);
        Ok(spots)
    }
}

#[cfg(test)]
mod tests;
