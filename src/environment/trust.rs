//! The files that make a client trust the proxy's CA, in addition to what it trusts already.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::clients::{self, Content};
use super::inherited::Inherited;
use super::{java, php, pkcs12, settings};
use crate::files;

/// Where distributions keep their roots in one file. Read only when `SSL_CERT_FILE` or
/// `SSL_CERT_DIR` is set, which keeps `rustls_native_certs` from finding the system's roots.
const SYSTEM_FILES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Variables that name certificates: some add to a client's roots and get the CA alone, others
/// replace them and get the system's too.
const NAMING: [Content; 2] = [Content::Authority, Content::Bundle];

/// The file in the directory for PHP.
const PHP_SETTINGS: &str = "egret.ini";

/// What the name of the file for Mercurial ends in.
const MERCURIAL_SETTINGS: &str = "hgrc";

/// What the name of the file for wget ends in.
const WGET_SETTINGS: &str = "wgetrc";

/// What the name of the file for apt ends in.
const APT_SETTINGS: &str = "apt.conf";

/// Certificates, as the variables want them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFiles {
    /// PEM: the CA, and the certificates that the user added with such a variable.
    pub alone: PathBuf,
    /// PEM: the system's roots, the user's own and the CA.
    pub bundle: PathBuf,
    /// A Java key store with the content of `bundle`.
    pub java: PathBuf,
    /// A directory with settings for PHP that name `bundle`.
    pub php: PathBuf,
    /// Settings for Mercurial that name `bundle`.
    pub mercurial: PathBuf,
    /// Settings for apt that name `bundle`.
    pub apt: PathBuf,
    /// Settings for wget that name `bundle`.
    pub wget: PathBuf,
}

impl TrustFiles {
    /// Writes the files into `directory`. `ca_file` holds the CA.
    ///
    /// Certificates that the environment names are added: replacing the variable must not remove
    /// trust. The name of such a file has a digest in it, since another `egret run` at the same time
    /// may have another environment.
    ///
    /// # Errors
    /// When the CA cannot be read or a file cannot be written. A file that the environment names and
    /// that cannot be read is left out, as clients do.
    pub fn write(directory: &Path, ca_file: &Path, inherited: &Inherited) -> io::Result<Self> {
        let authority = read_pem(ca_file)?;
        if authority.is_empty() {
            let message = format!("{} holds no certificate", ca_file.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let own: Vec<CertificateDer<'static>> = own_certificates(inherited)
            .into_iter()
            .flat_map(|path| read_pem(path).unwrap_or_default())
            .collect();
        let roots = system_roots(inherited);

        let extra = difference(&own, &roots, &authority);
        let alone = if extra.is_empty() {
            ca_file.to_owned()
        } else {
            let pem = to_pem(authority.iter().chain(&extra));
            write_once(directory, "ca", "pem", Some(&pem), &pem)?
        };
        let all: Vec<_> = roots.iter().chain(&extra).chain(&authority).collect();
        let pem = to_pem(all.iter().copied());
        let tag = (!extra.is_empty()).then_some(&pem);
        let bundle = write_once(directory, "ca-bundle", "pem", tag.map(|v| &**v), &pem)?;
        let store = java::key_store(all.iter().map(|certificate| certificate.as_ref()));
        let java = write_once(directory, "ca-bundle", "jks", tag.map(|v| &**v), &store)?;
        let php = bundle.with_extension("php.d");
        write_settings(&php, &php::settings(&bundle))?;
        let mercurial = bundle.with_extension(MERCURIAL_SETTINGS);
        write_unless_same(&mercurial, &settings::mercurial(&bundle))?;
        let apt = write_apt(directory, &bundle, inherited)?;
        let wget = bundle.with_extension(WGET_SETTINGS);
        write_unless_same(&wget, &settings::wget(&bundle))?;
        Ok(Self {
            alone,
            bundle,
            java,
            php,
            mercurial,
            apt,
            wget,
        })
    }
}

impl TrustFiles {
    /// The files of [`TrustFiles::write`] in a directory, which may be on another machine.
    pub fn in_directory(directory: &Path) -> Self {
        let bundle = directory.join("ca-bundle.pem");
        Self {
            alone: directory.join(files::CA_CERT),
            java: bundle.with_extension("jks"),
            php: bundle.with_extension("php.d"),
            mercurial: bundle.with_extension(MERCURIAL_SETTINGS),
            apt: bundle.with_extension(APT_SETTINGS),
            wget: bundle.with_extension(WGET_SETTINGS),
            bundle,
        }
    }

    /// Writes the content of the bundle as PKCS #12 beside it, for readers of that. Returns where.
    ///
    /// # Errors
    /// When the bundle cannot be read or the file cannot be written.
    pub fn write_pkcs12(&self) -> io::Result<PathBuf> {
        let all = read_pem(&self.bundle)?;
        let store = pkcs12::key_store(all.iter().map(|certificate| certificate.as_ref()));
        let path = self.bundle.with_extension("p12");
        write_unless_same(&path, &store)?;
        Ok(path)
    }

    /// The file with settings for PHP.
    pub(super) fn settings(&self) -> PathBuf {
        self.php.join(PHP_SETTINGS)
    }

    /// Every file that the variables name.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let settings = self.settings();
        let files = [
            &self.alone,
            &self.bundle,
            &self.java,
            &self.mercurial,
            &self.apt,
            &self.wget,
        ];
        files.map(PathBuf::clone).into_iter().chain([settings])
    }
}

/// Variables of the inherited environment that name certificates of the user's own, which the
/// bundle has to keep.
fn own_certificates(inherited: &Inherited) -> Vec<&Path> {
    let mut paths: Vec<&Path> = clients::with(&NAMING)
        .filter_map(|variable| inherited.get(&variable.name))
        .filter(|value| !value.is_empty())
        .map(Path::new)
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

fn read_pem(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = fs::read(path).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot read {}: {error}", path.display()),
        )
    })?;
    // Other PEM sections are skipped, as OpenSSL does.
    Ok(CertificateDer::pem_slice_iter(&bytes).flatten().collect())
}

fn system_roots(inherited: &Inherited) -> Vec<CertificateDer<'static>> {
    let mut roots = rustls_native_certs::load_native_certs().certs;
    let hidden = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .any(|name| inherited.contains_key(*name));
    if hidden {
        let system = SYSTEM_FILES
            .iter()
            .find_map(|path| read_pem(path.as_ref()).ok());
        roots.extend(system.unwrap_or_default());
    }
    let mut seen = HashSet::new();
    roots.retain(|certificate| seen.insert(certificate.to_vec()));
    roots
}

/// The certificates of `own` that are in neither of the others, each once.
fn difference(
    own: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    authority: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    let mut seen: HashSet<&[u8]> = roots
        .iter()
        .chain(authority)
        .map(|known| &**known)
        .collect();
    let mut new = Vec::new();
    for certificate in own {
        if seen.insert(certificate) {
            new.push(certificate.clone());
        }
    }
    new
}

/// PEM as RFC 7468 has it, lines of 64 characters.
/// Certificates as PEM.
pub fn to_pem<'a>(certificates: impl Iterator<Item = &'a CertificateDer<'static>>) -> Vec<u8> {
    let mut pem = Vec::new();
    for certificate in certificates {
        pem.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            pem.extend_from_slice(line);
            pem.push(b'\n');
        }
        pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
    }
    pem
}

/// Writes `NAME.EXTENSION`, or `NAME-DIGEST.EXTENSION` where `tagged` gives something to digest,
/// unless it is there with that content already.
fn write_once(
    directory: &Path,
    name: &str,
    extension: &str,
    tagged: Option<&[u8]>,
    content: &[u8],
) -> io::Result<PathBuf> {
    let file = match tagged {
        Some(tagged) => {
            let digest = digest::digest(&digest::SHA256, tagged);
            let tag: String = digest.as_ref()[..6]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("{name}-{tag}.{extension}")
        }
        None => format!("{name}.{extension}"),
    };
    let path = directory.join(file);
    write_unless_same(&path, content)?;
    Ok(path)
}

/// Writes the only file of a directory of settings.
fn write_settings(directory: &Path, content: &[u8]) -> io::Result<()> {
    if let Err(error) = fs::create_dir(directory)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        let message = format!("cannot make {}: {error}", directory.display());
        return Err(io::Error::new(error.kind(), message));
    }
    // The file mask of a command closes what it makes; settings may be read by whoever reads the bundle.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    write_unless_same(&directory.join(PHP_SETTINGS), content)
}

/// Writes the settings for apt, which include those that the user named with the same variable.
fn write_apt(directory: &Path, bundle: &Path, inherited: &Inherited) -> io::Result<PathBuf> {
    let untagged = bundle.with_extension(APT_SETTINGS);
    let existing = inherited.get("APT_CONFIG").map(OsString::as_os_str);
    let existing = existing.filter(|path| !path.is_empty());
    // That of another run around this one includes the user's already. A file cannot include itself.
    let is_ours = |path: &OsStr| {
        let name = Path::new(path).file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let ends = name.ends_with(&format!(".{APT_SETTINGS}"));
        Path::new(path).parent() == Some(directory) && name.starts_with("ca-bundle") && ends
    };
    match existing {
        Some(path) if is_ours(path) => Ok(path.into()),
        Some(path) => {
            let text = settings::apt(bundle, Some(path));
            write_once(directory, "ca-bundle", APT_SETTINGS, Some(&text), &text)
        }
        None => {
            write_unless_same(&untagged, &settings::apt(bundle, None))?;
            Ok(untagged)
        }
    }
}

fn write_unless_same(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    files::replace(path, content, files::PUBLIC).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot write {}: {error}", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(directory: &Path, name: &str) -> PathBuf {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![format!("{name}.example")]);
        let certificate = params
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        let path = directory.join(format!("{name}.crt"));
        fs::write(&path, certificate.pem()).expect("a writable directory");
        path
    }

    fn inherit(name: &str, path: &Path) -> Inherited {
        Inherited::from([(name.to_owned(), path.into())])
    }

    #[test]
    fn the_bundle_holds_the_systems_roots_and_the_authority() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ca = certificate(directory.path(), "ca");
        let files = TrustFiles::write(directory.path(), &ca, &Inherited::new()).expect("written");
        assert_eq!(files.alone, ca);
        assert_eq!(files.bundle, directory.path().join("ca-bundle.pem"));
        let bundle = read_pem(&files.bundle).expect("readable");
        assert_eq!(bundle.len(), system_roots(&Inherited::new()).len() + 1);
        assert_eq!(bundle.last(), read_pem(&ca).expect("readable").first());
        let named = TrustFiles::in_directory(directory.path());
        assert_eq!((&named.bundle, &named.java), (&files.bundle, &files.java));
        assert_eq!(named.php, files.php);
        assert_eq!(named.mercurial, files.mercurial);
        assert_eq!((&named.apt, &named.wget), (&files.apt, &files.wget));
        let mode = fs::metadata(&files.bundle)
            .expect("present")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn a_variable_of_the_users_own_does_not_lose_its_certificates() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ca = certificate(directory.path(), "ca");
        let own = certificate(directory.path(), "own");
        let inherited = inherit("SSL_CERT_FILE", &own);
        let files = TrustFiles::write(directory.path(), &ca, &inherited).expect("written");
        assert_ne!(files.bundle, directory.path().join("ca-bundle.pem"));
        for file in [&files.bundle, &files.alone] {
            let certificates = read_pem(file).expect("readable");
            for expected in [&ca, &own] {
                assert!(certificates.contains(&read_pem(expected).expect("readable")[0]));
            }
        }
    }

    #[test]
    fn a_run_inside_a_run_changes_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ca = certificate(directory.path(), "ca");
        let outer = TrustFiles::write(directory.path(), &ca, &Inherited::new()).expect("written");
        let inherited = inherit("CURL_CA_BUNDLE", &outer.bundle);
        let inner = TrustFiles::write(directory.path(), &ca, &inherited).expect("written");
        assert_eq!(inner, outer);
        // And with settings of the user's own for apt.
        let own = inherit("APT_CONFIG", Path::new("/own.conf"));
        let outer = TrustFiles::write(directory.path(), &ca, &own).expect("written");
        let text = fs::read_to_string(&outer.apt).expect("readable");
        assert!(text.starts_with("#include \"/own.conf\";\n"), "{text}");
        let inherited = inherit("APT_CONFIG", &outer.apt);
        let inner = TrustFiles::write(directory.path(), &ca, &inherited).expect("written");
        assert_eq!(inner, outer);
    }

    #[test]
    fn a_missing_file_of_the_users_is_passed_over_and_a_missing_authority_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ca = certificate(directory.path(), "ca");
        let absent = directory.path().join("absent.pem");
        let inherited = inherit("PIP_CERT", &absent);
        assert!(TrustFiles::write(directory.path(), &ca, &inherited).is_ok());
        assert!(TrustFiles::write(directory.path(), &absent, &Inherited::new()).is_err());
    }

    #[test]
    fn certificates_of_the_users_own_are_found_once() {
        let inherited: Inherited = [
            ("SSL_CERT_FILE", "/own.pem"),
            ("CURL_CA_BUNDLE", "/own.pem"),
            ("NODE_EXTRA_CA_CERTS", "/extra.pem"),
            ("PIP_CERT", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into();
        let expected = [Path::new("/extra.pem"), Path::new("/own.pem")];
        assert_eq!(own_certificates(&inherited), expected);
    }
}
