//! What a store holds beside the one credential that is used.

use std::path::Path;

use anyhow::{Error, Result};
use egret::policy::egress::{EgressRule, Stance};
use egret::policy::grant::Grant;
use egret::secret::SecretBytes;
use egret::substitution::slug::Slug;
use egret::vault::sharing::Offer;
use egret::vault::{
    Actor, KeySources, Keyring, Kind, NewCredential, Principal, Registrar, Store, StoreUrl,
};

/// Credentials of each user.
const EACH: usize = 100;
/// One of so many credentials is shared.
const SHARED: usize = 10;
/// Changes in one transaction.
const TOGETHER: usize = 1_000;

/// Saves credentials of other principals, a hundred each, of which ten are shared with the next
/// principal, and egress rules, some of which name `origin`, as commands would.
pub async fn fill(data: &Path, credentials: usize, rules: usize, origin: &str) -> Result<()> {
    if credentials + rules == 0 {
        return Ok(());
    }
    let sources = KeySources {
        master: "file:master.key".parse().map_err(Error::msg)?,
        next: None,
    };
    let keyring = Keyring::load(&sources, data).await?;
    let url = StoreUrl::parse("sqlite:egret.db", data)?;
    let store = Store::open(&url, keyring.policy_keys()).await?;
    let registrar = Registrar::new(store.clone(), &keyring);
    let actor = Actor::operator("cli", "load");
    let numbers: Vec<usize> = (0..credentials).collect();
    for some in numbers.chunks(TOGETHER) {
        let together = registrar.together(&actor, None).await?;
        for n in some {
            save(&together, &actor, *n).await?;
        }
        together.finish(&actor).await?;
    }
    let shared: Vec<usize> = numbers.iter().copied().step_by(SHARED).collect();
    for some in shared.chunks(TOGETHER) {
        let together = registrar.together(&actor, None).await?;
        for n in some {
            share(&together, &actor, *n, credentials).await?;
        }
        together.finish(&actor).await?;
    }
    let numbers: Vec<usize> = (0..rules).collect();
    for some in numbers.chunks(TOGETHER) {
        let together = registrar.together(&actor, None).await?;
        for n in some {
            let (subject, rule) = rule(*n, origin)?;
            together
                .add_egress(&actor, &subject.parse()?, &rule)
                .await?;
        }
        together.finish(&actor).await?;
    }
    store.close().await;
    Ok(())
}

fn user(n: usize) -> Result<Principal> {
    Ok(Principal::parse(&format!("user-{}", n / EACH))?)
}

fn slug(n: usize) -> Result<Slug> {
    Ok(Slug::parse(&format!("token-{}", n % EACH))?)
}

async fn save(registrar: &Registrar, actor: &Actor, n: usize) -> Result<()> {
    let new = NewCredential {
        owner: user(n)?,
        slug: slug(n)?,
        kind: Kind::Secret,
        description: String::new(),
        grant: Grant::for_hosts(vec!["api.example.com".parse()?]),
        rotate_every: None,
    };
    let value = SecretBytes::new(format!("value-of-somebody-else-{n:08}").into_bytes());
    registrar.add(actor, new, value).await?;
    Ok(())
}

async fn share(registrar: &Registrar, actor: &Actor, n: usize, credentials: usize) -> Result<()> {
    let next = user((n + EACH) % credentials)?;
    if next == user(n)? {
        return Ok(());
    }
    let offer = Offer::to(next.as_str().parse()?);
    registrar.share(actor, &user(n)?, &slug(n)?, &offer).await?;
    Ok(())
}

/// A rule about everyone, the caller's principal or its client; one of a hundred is about the origin.
fn rule(n: usize, origin: &str) -> Result<(&'static str, EgressRule)> {
    let subject = ["everyone", "default", "client:load"][n % 3];
    let host = match n % 100 {
        0 => origin.to_owned(),
        1..=10 => format!("*.example-{n}.com"),
        _ => format!("api-{n}.example.com"),
    };
    let mut rule = EgressRule::for_hosts(Stance::Allow, vec![host.parse()?]);
    if n.is_multiple_of(2) {
        rule.methods = vec!["GET".to_owned()];
        rule.paths = vec![format!("/v{n}").parse()?];
    }
    Ok((subject, rule))
}
