//! `egret ca`: what clients have to trust.

pub(in crate::cli) mod clients;
mod install;
mod rotate;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::child::quote::Shell;
use super::context::{Context, authority};
use super::output::{self, Format};
use crate::environment::inherited::Inherited;
use crate::environment::trust::TrustFiles;
use crate::environment::variables;
use crate::files;
use crate::tls::acceptance::Behind;
use crate::tls::authority::Authority;
use crate::views::{AuthorityCertificate, AuthorityPath, ExportedAuthority};

/// Show the certificate authority that clients have to trust
#[derive(Args)]
pub(super) struct Ca {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the CA's certificate as PEM
    ///
    /// `egret run` and `egret env` set the variables that make clients trust it. Install it only for
    /// clients that do not read those, such as a browser. Standard error says which clients refused the CA
    /// that signs, or accepted another one last.
    #[command(after_help = "\
Examples:
  egret ca show | openssl x509 -noout -text
  egret ca show | sudo tee /usr/local/share/ca-certificates/egret.crt && sudo update-ca-certificates")]
    Show(Format),
    /// Print the path of the CA's PEM file, and nothing else
    #[command(
        after_help = "Example:\n  curl --cacert \"$(egret ca path)\" https://api.example.com"
    )]
    Path(Format),
    Export(Export),
    Install(install::Install),
    Rotate(rotate::Rotate),
    Status(rotate::Status),
}

/// Copy the CA into a directory that other users of this machine can read
///
/// The data directory is closed to other users. This writes the CA (ca.pem), the system's roots with
/// the CA (ca-bundle.pem), the same as key stores for Java (ca-bundle.jks, and ca-bundle.p12 in PKCS #12,
/// with the password changeit), settings that name them for PHP, Mercurial and apt, and a file with the
/// variables by which other clients find them (trust.env), each with mode 0644, into a directory that is
/// made with mode 0755. The key of the CA stays where it is. Run it again after the CA has changed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret ca export /usr/local/share/egret
  curl --cacert /usr/local/share/egret/ca.pem https://api.example.com")]
struct Export {
    /// Where to write the files
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    #[command(flatten)]
    format: Format,
}

impl Export {
    fn run(&self, authority: &Authority) -> anyhow::Result<()> {
        let directory = &self.directory;
        files::public_directory(directory)
            .with_context(|| format!("{} cannot be used", directory.display()))?;
        let pem = directory.join(files::CA_CERT);
        files::replace(&pem, authority.cert_pem().as_bytes(), files::PUBLIC)
            .with_context(|| format!("cannot write {}", pem.display()))?;
        // Without the variables of this shell, which may name files that others cannot read.
        let trust = TrustFiles::write(directory, &pem, &Inherited::new())?;
        let pkcs12 = trust.write_pkcs12()?;
        let variables = directory.join("trust.env");
        files::replace(&variables, variables_of(&trust)?.as_bytes(), files::PUBLIC)
            .with_context(|| format!("cannot write {}", variables.display()))?;
        let path = |path: &Path| path.display().to_string();
        let view = ExportedAuthority {
            bundle: path(&trust.bundle),
            java: path(&trust.java),
            path: path(&trust.alone),
            pkcs12: path(&pkcs12),
            variables: path(&variables),
        };
        output::data(self.format, &view, || {
            let all = [
                &view.path,
                &view.bundle,
                &view.java,
                &view.pkcs12,
                &view.variables,
            ];
            all.iter().map(|path| format!("{path}\n")).collect()
        })
    }
}

impl Ca {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Rotate(rotate) => rotate.run(context).await,
            Command::Status(status) => status.run(context).await,
            Command::Show(format) => show(context, format),
            Command::Path(format) => path(context, format),
            Command::Install(install) => install.run(context),
            Command::Export(export) => export.run(&authority(&context.load()?.config)?),
        }
    }
}

/// The variables that name the files, as a .env file.
fn variables_of(trust: &TrustFiles) -> anyhow::Result<String> {
    let mut text = String::new();
    for (name, value) in variables::trusting(trust) {
        let value = value.to_str();
        let value = value.context("the name of the directory is not UTF-8")?;
        text += &Shell::DotEnv.assign(name, value);
        text.push('\n');
    }
    Ok(text)
}

fn show(context: &Context, format: Format) -> anyhow::Result<()> {
    let config = context.load()?.config;
    let authority = authority(&config)?;
    let pem = authority.cert_pem();
    let (all, signing) = (
        clients::read(&config),
        authority.fingerprint(OffsetDateTime::now_utc()),
    );
    // Not on standard output: that goes into files of certificates.
    if let Some(remark) = clients::remark(&Behind::of(&all, &signing)) {
        output::note(&format!("the CA that signs: {remark} (`egret ca status`)"));
    }
    let clients = clients::views(&all, &signing);
    let view = AuthorityCertificate { pem, clients };
    output::data(format, &view, || pem.to_owned())
}

fn path(context: &Context, format: Format) -> anyhow::Result<()> {
    let config = context.load()?.config;
    authority(&config)?;
    let path = config.tls.ca_cert.display().to_string();
    let view = AuthorityPath { path };
    output::data(format, &view, || format!("{}\n", view.path))
}
