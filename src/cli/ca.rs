//! `egret ca`: what clients have to trust.

use clap::{Args, Subcommand};

use super::context::{Context, authority};
use super::output::{self, Format};
use crate::views::{AuthorityCertificate, AuthorityPath};

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
    /// clients that do not read those, such as a browser.
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
}

impl Ca {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = context.load()?.config;
        let cert = &config.tls.ca_cert;
        let authority = authority(&config)?;
        match self.command {
            Command::Show(Format { json: true }) => {
                let pem = authority.cert_pem();
                output::json(&AuthorityCertificate { pem })
            }
            Command::Show(_) => output::print(authority.cert_pem()),
            Command::Path(Format { json: true }) => {
                let path = cert.display().to_string();
                output::json(&AuthorityPath { path })
            }
            Command::Path(_) => output::print(&format!("{}\n", cert.display())),
        }
    }
}
