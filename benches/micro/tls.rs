//! A leaf for a host that was never asked for before.

use divan::{Bencher, black_box};
use egret::policy::destination::Host;
use egret::tls::authority::Authority;
use egret::tls::leaf::LeafCache;
use time::OffsetDateTime;

fn authority() -> Authority {
    let directory = tempfile::tempdir().expect("a directory");
    let (cert, key) = (
        directory.path().join("ca.pem"),
        directory.path().join("ca.key"),
    );
    Authority::load_or_create(&cert, &key).expect("an authority")
}

#[divan::bench]
fn mint(bencher: Bencher) {
    let authority = authority();
    let host = Host::Domain("api.example.com".into());
    let now = OffsetDateTime::now_utc();
    bencher.bench_local(|| authority.mint(black_box(&host), now).is_ok());
}

#[divan::bench]
fn warm(bencher: Bencher) {
    let leaves = LeafCache::new(authority(), vec![b"http/1.1".to_vec()]).expect("a cache");
    let host = Host::Domain("api.example.com".into());
    bencher.bench_local(|| leaves.leaf_for(black_box(&host)).is_ok());
}
