//! The files, and where they are.

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
}
