//! Sealing a value, and opening it for a request.

use divan::{Bencher, black_box};
use egret::policy::grant::Grant;
use egret::secret::SecretBytes;
use egret::substitution::slug::Slug;
use egret::vault::rotation::Retention;
use egret::vault::{
    Actor, Found, Keyring, Kind, NewCredential, Principal, Registrar, Store, StoreUrl, Vault,
};

/// A value is sealed and saved, durably: what `egret credential rotate` waits for.
#[divan::bench(sample_count = 20)]
fn seal_and_store(bencher: Bencher) {
    let world = World::new();
    bencher.bench_local(|| world.rotate());
}

#[divan::bench]
fn find(bencher: Bencher) {
    let world = World::new();
    let (vault, who, slug) = (&world.vault, &world.who, &world.slug);
    bencher.bench_local(|| {
        matches!(
            vault.find(black_box(who), black_box(slug), 0),
            Found::One(_)
        )
    });
}

#[divan::bench]
fn open(bencher: Bencher) {
    let world = World::new();
    let Found::One(usable) = world.vault.find(&world.who, &world.slug, 0) else {
        panic!("it was saved");
    };
    let credential = &usable.credential;
    bencher.bench_local(|| world.vault.open_value(black_box(credential), None).is_ok());
}

/// Whether anybody committed a change: asked for every request.
#[divan::bench]
fn look_for_changes(bencher: Bencher) {
    let world = World::new();
    bencher.bench_local(|| world.runtime.block_on(world.vault.refresh()).is_ok());
}

struct World {
    runtime: tokio::runtime::Runtime,
    vault: Vault,
    registrar: Registrar,
    who: Principal,
    slug: Slug,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let url = StoreUrl::parse("sqlite:egret.db", directory.path()).expect("a store's URL");
        let master = [7; 32];
        let keyring = || Keyring::from_master(&master).expect("a keyring");
        let who = Principal::parse("default").expect("a principal");
        let slug = Slug::parse("github-pat").expect("a slug");
        let opened = async {
            let store = Store::open(&url, keyring().policy_keys())
                .await
                .expect("a store");
            let registrar = Registrar::new(store, &keyring());
            let new = NewCredential {
                owner: who.clone(),
                slug: slug.clone(),
                kind: Kind::Secret,
                description: String::new(),
                grant: Grant::for_hosts(vec!["api.example.com".parse().expect("a host")]),
                rotate_every: None,
            };
            registrar
                .add(&actor(), new, value())
                .await
                .expect("it is saved");
            let vault = Vault::open(directory.path(), &url, &keyring())
                .await
                .expect("a vault");
            (registrar, vault)
        };
        let (registrar, vault) = runtime.block_on(opened);
        Self {
            runtime,
            vault,
            registrar,
            who,
            slug,
            _directory: directory,
        }
    }

    fn rotate(&self) -> u32 {
        let rotated = async {
            let (who, slug) = (&self.who, &self.slug);
            self.registrar
                .rotate(&actor(), who, slug, value(), Retention::default())
                .await
        };
        self.runtime.block_on(rotated).expect("it is rotated")
    }
}

fn actor() -> Actor {
    Actor::operator("cli", "bench")
}

fn value() -> SecretBytes {
    SecretBytes::new(b"ghp_0123456789abcdefghijklmnopqrstuvwxyz".to_vec())
}
