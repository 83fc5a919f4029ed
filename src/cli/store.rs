//! `egret store`: whether the store is what Egret wrote.

use clap::{Args, Subcommand};

use super::context::{Context, Session, actor};
use super::output::{self, Format};
use super::server;
use crate::vault::{Keyring, Store as Opened};
use crate::views;

/// Check the store, and take one as it is after a loss
#[derive(Args)]
pub(super) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check that only Egret changed the store
    ///
    /// Limits, states, shares, users, groups and clients are authenticated under the master key. An
    /// entry that does not verify is not used.
    #[command(after_help = "Example:\n  egret store check")]
    Check(Format),
    /// Take a store that is older than the ledger, or that lost or regained rows
    ///
    /// What was revoked, unshared or narrowed after this copy was made is in force again as it was
    /// then: look at `egret ledger tail --event credential` first, and repeat it. What was edited stays
    /// unusable. Stop the server before.
    #[command(after_help = "Example:\n  egret store accept")]
    Accept(Format),
}

impl Store {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Check(format) => check(context, format).await,
            Command::Accept(format) => accept(context, format).await,
        }
    }
}

async fn check(context: &Context, format: Format) -> anyhow::Result<()> {
    let session = context.open().await?;
    let unverified = session.store.check().await;
    session.store.close().await;
    let unverified = unverified?;
    let view = views::StoreCheck {
        verified: unverified.is_empty(),
        unverified: &unverified,
    };
    output::data(format, &view, || {
        let mut text = String::new();
        for entry in &unverified {
            text += &format!(
                "not written by Egret, and not used: {}\n",
                output::printable(entry)
            );
        }
        if unverified.is_empty() {
            text += "The store is what Egret wrote last.\n";
        }
        text
    })?;
    anyhow::ensure!(
        unverified.is_empty(),
        "the store was changed by something that is not Egret"
    );
    Ok(())
}

async fn accept(context: &Context, format: Format) -> anyhow::Result<()> {
    let config = context.load()?.config;
    anyhow::ensure!(
        server::live(&config.data_dir).is_none(),
        "a server uses this store; stop it first"
    );
    let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
    let store = Opened::accept(&config.store.url, keyring.policy_keys(), &actor()).await?;
    store.close().await;
    let session = Session::open(config).await?;
    let unverified = session.store.check().await?;
    session.finish().await?;
    let view = views::StoreCheck {
        verified: unverified.is_empty(),
        unverified: &unverified,
    };
    output::data(format, &view, || {
        let count = unverified.len();
        format!(
            "The store is taken as it is, and that is on record. Entries that are not used: {count}.\n"
        )
    })
}
