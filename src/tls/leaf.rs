//! Leaf certificates, minted when first asked for and cached until they are due for renewal.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCertUsingSni, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use time::OffsetDateTime;

use super::acceptance::{Behind, ClientAcceptance};
use super::authority::{Authority, AuthorityError};
use super::fingerprint::Fingerprint;
use crate::policy::destination::Host;

/// Most leaves that are cached. A hostile client can ask for any number of names.
const CAPACITY: usize = 8_192;

/// The TLS configurations for intercepted hosts, with one leaf each. It is minted once, also if
/// many connections ask for it at the same moment.
pub struct LeafCache {
    authority: ArcSwap<Authority>,
    /// What the configurations of all hosts have in common.
    common: ServerConfig,
    leaves: DashMap<Host, Arc<CachedLeaf>>,
    clients: ClientAcceptance,
}

/// What a client that asks for a host is shown.
#[derive(Clone)]
pub struct Leaf {
    /// The server configuration with the certificate.
    pub config: Arc<ServerConfig>,
    /// The SHA-256 of the authority that signed it.
    pub authority: Arc<str>,
}

/// A leaf in the cache. The map's lock is held only to find it, and the cell's lock while it is
/// minted.
struct CachedLeaf {
    minted: OffsetDateTime,
    leaf: OnceLock<Option<Leaf>>,
}

impl LeafCache {
    /// A cache over `authority`; intercepted connections negotiate one of `alpn`, first preferred.
    pub fn new(authority: Authority, alpn: Vec<Vec<u8>>) -> Result<Self, AuthorityError> {
        Ok(Self {
            authority: ArcSwap::from_pointee(authority),
            common: common(alpn, WebPkiClientVerifier::no_client_auth())?,
            leaves: DashMap::new(),
            clients: ClientAcceptance::default(),
        })
    }

    /// Which authorities clients accepted and refused.
    pub fn clients(&self) -> &ClientAcceptance {
        &self.clients
    }

    /// The clients that have not accepted the authority that signs at `now`.
    pub fn behind(&self, now: OffsetDateTime) -> Behind {
        let signing = self.authority.load().fingerprint(now);
        Behind::of(&self.clients.all(), &signing)
    }

    /// The authority that signs the leaves.
    pub fn authority(&self) -> Arc<Authority> {
        self.authority.load_full()
    }

    /// Takes over an authority that was rotated. Every leaf is minted again.
    pub fn replace(&self, authority: Authority) {
        self.authority.store(Arc::new(authority));
        self.leaves.clear();
    }

    /// What a client is shown that asks for `host`, minted now or before.
    pub fn leaf_for(&self, host: &Host) -> Result<Leaf, AuthorityError> {
        let cached = self.cached(host, OffsetDateTime::now_utc());
        // Other connections that need this leaf wait here, about 100 us, instead of minting it too.
        let minted = cached
            .leaf
            .get_or_init(|| self.mint(host, cached.minted).ok());
        match minted {
            Some(leaf) => Ok(leaf.clone()),
            None => {
                self.leaves
                    .remove_if(host, |_, other| Arc::ptr_eq(other, &cached));
                Err(AuthorityError::Crypto)
            }
        }
    }

    fn cached(&self, host: &Host, now: OffsetDateTime) -> Arc<CachedLeaf> {
        if let Some(leaf) = self
            .leaves
            .get(host)
            .filter(|leaf| self.is_fresh(leaf, now))
        {
            return Arc::clone(&leaf);
        }
        self.make_room(now);
        let mut entry = self
            .leaves
            .entry(host.clone())
            .or_insert_with(|| CachedLeaf::new(now));
        if !self.is_fresh(&entry, now) {
            if entry.minted > now {
                tracing::warn!(
                    %host, made = %entry.minted,
                    "the clock went back; the host gets a certificate that is valid now"
                );
            }
            *entry = CachedLeaf::new(now);
        }
        Arc::clone(&entry)
    }

    /// Whether a leaf is young enough that no connection gets one which is about to end, and old
    /// enough to be valid: one that was made while the clock was ahead is not valid yet.
    fn is_fresh(&self, leaf: &CachedLeaf, now: OffsetDateTime) -> bool {
        let age = now - leaf.minted;
        let authority = self.authority.load();
        // The other half is for clients whose clock is slow.
        let ahead: time::Duration = authority.backdate() / 2;
        let is_of_signing = authority
            .signs_since(now)
            .is_none_or(|since| leaf.minted >= since);
        is_of_signing && -ahead <= age && age < authority.renew_after()
    }

    /// Drops the leaves that are due for renewal when the cache is full, and if there are none,
    /// half of all: a leaf is cheap to mint again.
    fn make_room(&self, now: OffsetDateTime) {
        if self.leaves.len() < CAPACITY {
            return;
        }
        self.leaves.retain(|_, leaf| self.is_fresh(leaf, now));
        if self.leaves.len() >= CAPACITY {
            let mut keep = false;
            self.leaves.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
    }

    fn mint(&self, host: &Host, now: OffsetDateTime) -> Result<Leaf, AuthorityError> {
        let key = self.authority.load().mint(host, now)?;
        // The chain ends with the authority.
        let authority = key.cert.last().ok_or(AuthorityError::Crypto)?;
        let authority = Fingerprint::of(authority).to_string().into();
        let mut config = self.common.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(key));
        Ok(Leaf {
            config: Arc::new(config),
            authority,
        })
    }
}

/// A configuration without a certificate, which demands of clients what `clients` verifies.
pub(super) fn common(
    alpn: Vec<Vec<u8>>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, AuthorityError> {
    let mut provider = CryptoProvider::clone(&super::provider::provider());
    // First the suite that RFC 8446 section 9.1 requires of every implementation. Most of a
    // handshake's hashing is its key schedule, and processors have instructions for SHA-256, but
    // not for SHA-384.
    let is_other =
        |suite: &SupportedCipherSuite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(is_other);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| AuthorityError::Crypto)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    config.ignore_client_order = true;
    config.alpn_protocols = alpn;
    // One ticketer for all hosts, so that sessions resume after an eviction, too. rustls binds a
    // ticket to its server name, so it resumes for no other host.
    config.ticketer =
        rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|_| AuthorityError::Crypto)?;
    // Tickets carry the session, so a store for each host would only cost memory.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(config)
}

impl CachedLeaf {
    fn new(now: OffsetDateTime) -> Arc<Self> {
        Arc::new(Self {
            minted: now,
            leaf: OnceLock::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn cache() -> (tempfile::TempDir, LeafCache) {
        let dir = tempfile::tempdir().unwrap();
        let authority =
            Authority::load_or_create(&dir.path().join("c"), &dir.path().join("k")).unwrap();
        (
            dir,
            LeafCache::new(authority, vec![b"http/1.1".to_vec()]).unwrap(),
        )
    }

    #[test]
    fn many_at_once_get_the_same_leaf() {
        let (_dir, cache) = cache();
        let host = Host::parse("api.example.test").unwrap();
        let configs: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| cache.leaf_for(&host).unwrap().config))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(
            configs
                .iter()
                .all(|config| Arc::ptr_eq(config, &configs[0]))
        );
    }

    #[test]
    fn a_leaf_of_the_age_of_renewal_is_replaced_while_cached() {
        let (_dir, cache) = cache();
        let host = Host::parse("api.example.test").unwrap();
        let now = OffsetDateTime::now_utc();
        let old = cache.cached(&host, now - cache.authority().renew_after());
        let fresh = cache.cached(&host, now);
        assert!(!Arc::ptr_eq(&old, &fresh));
        assert!(Arc::ptr_eq(&fresh, &cache.cached(&host, now)));
    }

    #[test]
    fn a_leaf_from_before_another_authority_took_over_is_replaced() {
        let (dir, cache) = cache();
        let (cert, key) = (dir.path().join("c"), dir.path().join("k"));
        let host = Host::parse("api.example.test").unwrap();
        let now = OffsetDateTime::now_utc();
        let later = now + Duration::hours(1);
        Authority::rotate(&cert, &key, later, now).unwrap();
        cache.replace(Authority::load_or_create(&cert, &key).unwrap());
        let old = cache.cached(&host, now);
        assert!(Arc::ptr_eq(&old, &cache.cached(&host, now)));
        let new = cache.cached(&host, later);
        assert!(!Arc::ptr_eq(&old, &new));
        assert!(Arc::ptr_eq(&new, &cache.cached(&host, later)));
    }

    #[test]
    fn a_leaf_of_a_clock_that_was_ahead_is_replaced_before_it_is_valid() {
        let (_dir, cache) = cache();
        let host = Host::parse("api.example.test").unwrap();
        let now = OffsetDateTime::now_utc();
        for ahead in [Duration::hours(1), Duration::days(1), Duration::days(365)] {
            let early = cache.cached(&host, now + ahead);
            let fresh = cache.cached(&host, now);
            assert!(!Arc::ptr_eq(&early, &fresh), "{ahead}");
            assert!(Arc::ptr_eq(&fresh, &cache.cached(&host, now)));
        }
        // A clock that is corrected by seconds renews nothing.
        let early = cache.cached(&host, now + Duration::days(2));
        let corrected = cache.cached(&host, now + Duration::days(2) - Duration::SECOND);
        assert!(Arc::ptr_eq(&early, &corrected));
    }

    #[test]
    fn the_suite_is_the_one_whose_hash_is_fast_unless_the_client_lacks_it() {
        let (_dir, cache) = cache();
        let host = Host::parse("api.example.test").unwrap();
        let config = cache.leaf_for(&host).unwrap().config;
        for (offered, chosen) in [
            (&[0x13, 0x02, 0x13, 0x01][..], 0x1301),
            (&[0x13, 0x02], 0x1302),
        ] {
            let mut provider = CryptoProvider::clone(&crate::tls::provider());
            provider.cipher_suites.retain(|suite| {
                let id = u16::from(suite.suite()).to_be_bytes();
                offered.chunks(2).any(|offered| offered == id)
            });
            let client = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            let name = "api.example.test".try_into().unwrap();
            let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
            let mut hello = Vec::new();
            client.write_tls(&mut hello).unwrap();
            let mut server = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            server.read_tls(&mut &hello[..]).unwrap();
            server.process_new_packets().unwrap();
            let suite = server.negotiated_cipher_suite().unwrap().suite();
            assert_eq!(u16::from(suite), chosen);
        }
    }

    #[test]
    fn a_full_cache_makes_room() {
        let (_dir, cache) = cache();
        let now = OffsetDateTime::now_utc();
        for n in 0..CAPACITY + 10 {
            cache.cached(&Host::parse(&format!("h{n}.example.test")).unwrap(), now);
        }
        assert!(cache.leaves.len() <= CAPACITY);
    }
}
