//! Keys that lie in files of other programs: where each is, and what is written in its place.
//!
//! Each format is read as its program reads it, and nothing of the file is changed but the bytes of a
//! key: comments, order and line ends stay. What a placeholder has to look like there (quoted,
//! percent-encoded, inside of base64) is known where the key is found. Pure.

mod cargo;
mod docker;
mod dotenv;
mod ini;
mod netrc;
mod npmrc;
mod shown;
mod spot;
mod urls;
mod yaml;

pub use self::shown::shown;
pub use self::spot::{Spot, rewritten};
use super::error::ImportError;

/// A file in which a program keeps credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramFile {
    /// `.netrc`, which curl, git and others read.
    Netrc,
    /// `.git-credentials`: a URL a line.
    GitCredentials,
    /// `hosts.yml` of gh.
    GitHubCli,
    /// `.npmrc`.
    Npm,
    /// `config.json` of docker and its relatives.
    Docker,
    /// `credentials` of the AWS programs.
    Aws,
    /// The configuration of kubectl.
    Kubernetes,
    /// `credentials.toml` of cargo.
    Cargo,
    /// `.pypirc` of twine and others.
    Pypi,
    /// `pip.conf`.
    Pip,
    /// `.env` of a project.
    Dotenv,
}

/// Where these files are: a part of the home directory each.
pub const IN_HOME: &[(&str, ProgramFile)] = &[
    (".netrc", ProgramFile::Netrc),
    (".git-credentials", ProgramFile::GitCredentials),
    (".config/git/credentials", ProgramFile::GitCredentials),
    (".config/gh/hosts.yml", ProgramFile::GitHubCli),
    (".npmrc", ProgramFile::Npm),
    (".docker/config.json", ProgramFile::Docker),
    (".aws/credentials", ProgramFile::Aws),
    (".kube/config", ProgramFile::Kubernetes),
    (".cargo/credentials.toml", ProgramFile::Cargo),
    (".cargo/credentials", ProgramFile::Cargo),
    (".pypirc", ProgramFile::Pypi),
    (".config/pip/pip.conf", ProgramFile::Pip),
    (".pip/pip.conf", ProgramFile::Pip),
];

/// The file of a project, in its own directory.
pub const IN_PROJECT: &str = ".env";

impl ProgramFile {
    /// The kind of a file at this path; none if its name says nothing.
    pub fn at(path: &str) -> Option<Self> {
        let is_at = |place: &str| path == place || path.ends_with(&format!("/{place}"));
        if let Some((_, kind)) = IN_HOME.iter().find(|(place, _)| is_at(place)) {
            return Some(*kind);
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        match name {
            "credentials.toml" => Some(Self::Cargo),
            "hosts.yml" => Some(Self::GitHubCli),
            "pip.conf" => Some(Self::Pip),
            "kubeconfig" => Some(Self::Kubernetes),
            "config.json" | "auth.json" => Some(Self::Docker),
            "_netrc" => Some(Self::Netrc),
            _ if name == IN_PROJECT || name.starts_with(".env.") => Some(Self::Dotenv),
            _ => None,
        }
    }

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
