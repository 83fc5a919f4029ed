//! `egret credential handover` and `egret user claim`: another owner.

use clap::Args;
use serde_json::json;

use super::target::Target;
use crate::cli::context::{Context, actor};
use crate::cli::output::{self, Format};
use crate::vault::{Principal, handover};
use crate::views;

/// Give a credential to another owner, for good
///
/// The value is sealed again for its new owner, and the shares end: the new owner decides about them.
/// Versions that wait or were replaced are erased. With --server it is the user's own credential, and it
/// has to be shared with the new owner before.
#[derive(Args)]
#[command(
    after_help = "Example:\n  egret credential handover github-pat --owner default --to alice"
)]
pub(super) struct Handover {
    #[command(flatten)]
    target: Target,
    /// The user who will own it
    #[arg(long, value_name = "USER")]
    to: Principal,
    #[command(flatten)]
    format: Format,
}

impl Handover {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (owner, slug) = self.target.parse(context)?;
        match context.server() {
            Some(server) => {
                let thing = server.credential(&owner, &slug);
                let message = json!({ "to": self.to.as_str() });
                thing.post("/handover", &message).await?;
            }
            None => {
                let session = context.open().await?;
                let (store, keyring) = (&session.store, &session.keyring);
                handover::hand_over(store, keyring, &actor(), &owner, &slug, &self.to).await?;
                session.finish().await?;
            }
        }
        let text = format!(
            "{slug} belongs to {} now. Its shares have ended.\n",
            self.to
        );
        let slug = slug.as_str();
        let change = views::CredentialChange {
            changed: true,
            slug,
        };
        output::data(self.format, &change, || text)
    }
}
