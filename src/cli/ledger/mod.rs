//! `egret ledger`: the usage record, read, checked and exported.

pub(super) mod describe;
mod elsewhere;
mod export;
mod filters;
mod print;
mod proof;
mod tail;
mod verify;

use clap::{Args, Subcommand};

use super::context::Context;
use super::remote::ServerArgs;

/// Read, check and export the ledger, the record of every use
#[derive(Args)]
pub(super) struct Ledger {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tail(tail::Tail),
    Verify(verify::Verify),
    Prove(proof::Prove),
    VerifyProof(proof::VerifyProof),
    Checkpoint(proof::Checkpoint),
    Export(export::Export),
}

impl Ledger {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        // A proof is checked where there is no ledger, and perhaps no configuration.
        let command = match self.command {
            Command::VerifyProof(verify) => return verify.run(),
            command => command,
        };
        let context = &context.at(&self.server).await?;
        if let Some(server) = context.server() {
            return match command {
                Command::Tail(tail) => tail.at(server).await,
                Command::Prove(prove) => prove.at(server).await,
                Command::Checkpoint(checkpoint) => checkpoint.at(server).await,
                Command::Export(export) => export.at(server).await,
                Command::Verify(verify) => verify.at(server).await,
                Command::VerifyProof(verify) => verify.run(),
            };
        }
        let config = context.load()?.config;
        let dir = config.ledger_dir();
        match command {
            Command::Tail(tail) => tail.run(&dir),
            Command::Verify(verify) => verify.run(&dir, &config.ledger.witnesses),
            Command::Prove(prove) => prove.run(&dir),
            Command::Checkpoint(checkpoint) => checkpoint.run(&dir),
            Command::Export(export) => export.run(&dir),
            Command::VerifyProof(verify) => verify.run(),
        }
    }
}
