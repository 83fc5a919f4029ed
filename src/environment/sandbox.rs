//! The environment of a program on another machine: variables, and the files that they name, with
//! their content.

use std::fs;
use std::io;
use std::path::Path;

use super::inherited::Inherited;
use super::proxy_access::ProxyAccess;
use super::trust::TrustFiles;
use super::{clients, php, settings, variables};

/// What a sandbox needs to use the proxy.
pub struct Sandbox {
    /// Variables to set, in a stable order.
    pub set: Vec<(String, String)>,
    /// Variables to remove: they would win over those that are set.
    pub unset: Vec<&'static str>,
    /// The files that the variables name.
    pub files: Vec<SandboxFile>,
}

/// A file that a variable names.
pub struct SandboxFile {
    /// Where it has to be.
    pub path: String,
    /// What has to be in it.
    pub content: Vec<u8>,
}

/// What a sandbox needs that keeps the files in `directory`. `trust` is written on this machine, and
/// its files are read.
///
/// # Errors
/// When a file cannot be read.
pub fn of(
    access: &ProxyAccess,
    trust: &TrustFiles,
    directory: &Path,
    direct: &[String],
) -> io::Result<Sandbox> {
    let placed = TrustFiles {
        alone: directory.join("ca.pem"),
        bundle: directory.join("ca-bundle.pem"),
        java: directory.join("ca-bundle.jks"),
        php: directory.join("php.d"),
        mercurial: directory.join("ca-bundle.hgrc"),
        apt: directory.join("ca-bundle.apt.conf"),
        wget: directory.join("ca-bundle.wgetrc"),
    };
    let file = |path: &Path, content: Vec<u8>| SandboxFile {
        path: path.to_string_lossy().into_owned(),
        content,
    };
    let files = vec![
        file(&placed.alone, fs::read(&trust.alone)?),
        file(&placed.bundle, fs::read(&trust.bundle)?),
        file(&placed.java, fs::read(&trust.java)?),
        file(&placed.settings(), php::settings(&placed.bundle)),
        file(&placed.mercurial, settings::mercurial(&placed.bundle)),
        file(&placed.apt, settings::apt(&placed.bundle, None)),
        file(&placed.wget, settings::wget(&placed.bundle)),
    ];
    let changes = variables::changes(access, &placed, direct, &Inherited::new());
    let set = changes.set.into_iter();
    let set = set.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    let unset = clients::clients().set_aside.iter();
    Ok(Sandbox {
        set: set.collect(),
        unset: unset.map(|aside| aside.name.as_str()).collect(),
        files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_variable_names_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["ca.example".to_owned()]);
        let certificate = params.and_then(|params| params.self_signed(&key));
        let ca = directory.path().join("ca.pem");
        fs::write(&ca, certificate.expect("a certificate").pem()).expect("written");
        let trust = TrustFiles::write(directory.path(), &ca, &Inherited::new());
        let access = ProxyAccess::named("egret.internal".to_owned(), 7070, None);
        let place = Path::new("/etc/egret");
        let sandbox = of(&access, &trust.expect("files"), place, &[]).expect("a sandbox");
        let paths: Vec<_> = sandbox
            .files
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        let named = |name: &str| {
            let found = sandbox.set.iter().find(|(known, _)| known == name);
            found.expect(name).1.as_str()
        };
        assert!(paths.contains(&named("SSL_CERT_FILE")));
        assert!(paths.contains(&named("NODE_EXTRA_CA_CERTS")));
        assert!(named("JAVA_TOOL_OPTIONS").contains("/etc/egret/ca-bundle.jks"));
        assert_eq!(named("HTTPS_PROXY"), "http://egret.internal:7070");
        let here = directory.path().to_string_lossy().into_owned();
        let contents = sandbox.files.iter().map(|file| &file.content);
        let text: Vec<u8> = contents.flatten().copied().collect();
        assert!(!String::from_utf8_lossy(&text).contains(&here));
        assert!(sandbox.set.iter().all(|(_, value)| !value.contains(&here)));
    }
}
