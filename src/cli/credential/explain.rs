//! `egret credential explain`: which credential a slug names for a user, and why.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::credential::limits::describe as limits;
use crate::cli::credential::target::parse_slug;
use crate::cli::output::{self, Format};
use crate::cli::remote::segment;
use crate::cli::when;
use crate::vault::cache::Usable;
use crate::vault::cache::reader::floor_violation;
use crate::vault::sharing::{Offer, describe};
use crate::vault::{Found, Keyring, Principal, Vault};
use crate::views;

/// Say which credential a slug names for a user, and why not another
///
/// A user's own credential comes first. Else it is the only one that is shared under that slug. With
/// two of them neither is used.
#[derive(Args)]
#[command(after_help = "Example:\n  egret credential explain github-pat --as bob")]
pub(super) struct Explain {
    /// The slug as requests name it
    #[arg(value_name = "SLUG")]
    slug: String,
    /// For which user; `default`, or with --server the user of the token
    #[arg(long = "as", value_name = "USER")]
    user: Option<Principal>,
    #[command(flatten)]
    format: Format,
}

impl Explain {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let slug = parse_slug(&self.slug)?;
        let user = context.principal(self.user)?;
        if let Some(server) = context.server() {
            let path = format!("/explain/{slug}?user={}", segment(user.as_str()));
            let view: views::Explanation = server.get(&path).await?;
            return output::data(self.format, &view, || {
                format!("{}{}", candidates(&view), end(&view))
            });
        }
        let config = context.load()?.config;
        let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
        let vault = Vault::open(&config.data_dir, &config.store.url, &keyring).await?;
        let explained = vault.explained(&user, &slug, when::now());
        let users = vault.store().list_users().await;
        vault.store().close().await;
        // A mistyped name owns nothing, like somebody who has nothing yet.
        if users.is_ok_and(|users| !users.contains_key(&user)) {
            output::note(&format!("there is no user {user} yet"));
        }
        let floor = floor_violation(&config.policy, &explained.found, when::now());
        let view = views::Explanation::new(&explained, floor);
        output::data(self.format, &view, || match &explained.found {
            Found::One(usable) => candidates(&view) + &allowed(usable),
            _ => candidates(&view) + &end(&view),
        })
    }
}

/// The credentials of that slug that reach the user.
fn candidates(view: &views::Explanation) -> String {
    let (slug, user) = (&view.slug, &view.user);
    let mut text = String::new();
    if view.disabled {
        text += &format!("{user} is disabled and may use nothing.\n");
    }
    for one in &view.candidates {
        let through = match one.through.as_str() {
            "own" => "own".to_owned(),
            with => format!("shared with {with}"),
        };
        let standing = match &view.floor {
            Some(_) if one.standing == "used" => "not permitted",
            _ => &one.standing,
        };
        text += &format!("{slug} of {} ({through}): {standing}\n", one.owner);
    }
    if view.candidates.is_empty() {
        text += &format!("{user} owns no {slug}, and none is shared.\n");
    }
    if let Some(violation) = &view.floor {
        text += &format!("Not used: {violation}.\n");
    }
    text
}

/// What a request gets that names the slug.
fn end(view: &views::Explanation) -> String {
    let what = view.code.as_deref().unwrap_or("a value, within the limits");
    format!("A request gets {what}.\n")
}

fn allowed(usable: &Usable) -> String {
    let mut text = "Allowed:\n".to_owned();
    for (name, limit) in limits(&usable.credential.grant) {
        text += &format!("  {name:9} {limit}\n");
    }
    for share in &usable.shares {
        let offer = Offer {
            with: share.with.clone(),
            limits: share.limits.clone(),
            until: share.until,
        };
        text += &format!("  {:9} {}\n", "share", describe(&offer));
    }
    text
}
