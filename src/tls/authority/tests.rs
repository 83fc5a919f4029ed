use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn host(name: &str) -> Host {
    Host::parse(name).expect("a host")
}

#[test]
fn is_created_once_and_loaded_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
    let first = Authority::load_or_create(&cert, &key).unwrap();
    let second = Authority::load_or_create(&cert, &key).unwrap();
    assert_eq!(first.cert_pem(), second.cert_pem());
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Each state in which a first start can end.
#[test]
fn what_is_half_there_is_completed_or_said() {
    let state = |cert: Option<&str>, key: Option<&str>| {
        let dir = tempfile::tempdir().unwrap();
        let (cert_path, key_path) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
        for (path, content) in [(&cert_path, cert), (&key_path, key)] {
            if let Some(content) = content {
                fs::write(path, content).unwrap();
            }
        }
        let loaded = Authority::load_or_create(&cert_path, &key_path);
        let again = loaded
            .is_ok()
            .then(|| Authority::load_or_create(&cert_path, &key_path));
        assert!(again.is_none_or(|again| again.is_ok()));
        loaded
            .map(|authority| authority.certificate_pem)
            .map_err(|error| error.to_string())
    };
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
    Authority::load_or_create(&cert, &key).unwrap();
    let (cert, key) = (
        fs::read_to_string(cert).unwrap(),
        fs::read_to_string(key).unwrap(),
    );
    let (cert, key) = (Some(cert.as_str()), Some(key.as_str()));

    assert!(state(None, None).is_ok());
    assert_eq!(state(cert, key).as_deref(), Ok(cert.unwrap()));
    assert!(state(None, key).is_ok(), "interrupted between the files");
    for (cert, key, advice) in [
        (cert, None, "restore the key"),
        (cert, Some(""), "is empty; remove it"),
        (Some(""), key, "is empty; remove it"),
        (cert, Some("-----BEGIN"), "restore it"),
        (Some("-----BEGIN"), key, "restore it"),
        (None, Some(""), "is empty; remove it"),
    ] {
        let error = state(cert, key).unwrap_err();
        assert!(error.contains(advice), "{error}");
    }
}

/// The lost certificate can be made again, and what it signs is accepted by those who trust the
/// one that was lost.
#[test]
fn a_certificate_made_again_for_a_key_has_the_same_name_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
    let first = Authority::load_or_create(&cert, &key).unwrap();
    fs::remove_file(&cert).unwrap();
    let second = Authority::load_or_create(&cert, &key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(first.present.certificate.clone()).unwrap();
    verify(roots, &second, "api.example.test");
    let (_, first) = X509Certificate::from_der(&first.present.certificate).unwrap();
    let (_, second) = X509Certificate::from_der(&second.present.certificate).unwrap();
    assert_eq!(first.subject(), second.subject());
    assert_eq!(first.raw_serial(), second.raw_serial());
}

#[test]
fn several_that_start_at_once_have_the_same_authority() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
    let certificates: Vec<String> = std::thread::scope(|scope| {
        let start = || {
            Authority::load_or_create(&cert, &key)
                .unwrap()
                .certificate_pem
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(certificates.iter().all(|pem| *pem == certificates[0]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_certificate_of_a_wrong_clock_is_noticed_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let authority =
        Authority::load_or_create(&dir.path().join("c"), &dir.path().join("k")).unwrap();
    let now = OffsetDateTime::now_utc();
    assert_eq!(authority.validity(now), Validity::Valid);
    let before = authority.validity(now - Duration::days(1));
    assert!(matches!(before, Validity::NotYet(begin) if begin < now));
    let after = authority.validity(now + Duration::days(4_000));
    assert!(matches!(after, Validity::Over(end) if end > now));
}

#[test]
fn a_key_of_another_authority_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    Authority::load_or_create(&path("a.pem"), &path("a.key")).unwrap();
    Authority::load_or_create(&path("b.pem"), &path("b.key")).unwrap();
    assert!(matches!(
        Authority::load_or_create(&path("a.pem"), &path("b.key")),
        Err(AuthorityError::Mismatch { .. })
    ));
}

#[test]
fn certificates_are_made_as_the_profile_says() {
    let dir = tempfile::tempdir().unwrap();
    let authority =
        Authority::load_or_create(&dir.path().join("c"), &dir.path().join("k")).unwrap();
    let profile = &authority.profile;
    let leaf = authority
        .mint(&host("api.example.test"), OffsetDateTime::now_utc())
        .unwrap();
    let (_, ca) = X509Certificate::from_der(&authority.present.certificate).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf.cert[0]).unwrap();
    let life = |certificate: &X509Certificate<'_>| {
        let validity = certificate.validity();
        validity.not_after.timestamp() - validity.not_before.timestamp()
    };
    let backdate = profile.backdate();
    let expected = profile.authority.lifetime() + backdate;
    assert_eq!(life(&ca), expected.whole_seconds());
    let expected = profile.leaf.lifetime() + backdate;
    assert_eq!(life(&leaf), expected.whole_seconds());

    let subject = ca.subject().to_string();
    assert!(
        subject.contains(&profile.authority.common_name),
        "{subject}"
    );
    assert!(
        subject.contains(&profile.authority.organization),
        "{subject}"
    );
    let constraints = ca.basic_constraints().unwrap().unwrap().value;
    assert!(constraints.ca);
    assert_eq!(constraints.path_len_constraint, Some(0));
    let usage = ca.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());

    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && !purposes.client_auth && !purposes.any);
}

#[test]
fn leaves_verify_for_names_and_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let authority =
        Authority::load_or_create(&dir.path().join("c"), &dir.path().join("k")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.present.certificate.clone()).unwrap();
    for name in ["api.example.test", "192.0.2.7", "[2001:db8::7]"] {
        verify(roots.clone(), &authority, name);
    }
}

/// The next authority is trusted at once and signs later.
#[test]
fn another_authority_is_published_and_takes_over_at_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
    let now = OffsetDateTime::now_utc();
    let later = now + Duration::days(7);
    let load = || Authority::load_or_create(&cert, &key).unwrap();
    let trust = |authority: &Authority| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(certificates(authority.cert_pem()));
        roots
    };
    let old = trust(&load());
    Authority::rotate(&cert, &key, later, now).unwrap();
    let both = load();
    assert_eq!(trust(&both).len(), 2);
    let [present, next] = both.describe(now).try_into().unwrap();
    assert!(present.signs && !next.signs && next.from == Some(later));
    assert_ne!(present.fingerprint, next.fingerprint);
    assert_eq!(both.signs_since(now), None);
    verify(old.clone(), &both, "a.example");
    verify(trust(&both), &both, "a.example");

    // Its time is brought forward; the certificate stays the same.
    Authority::rotate(&cert, &key, now, now).unwrap();
    let switched = load();
    assert_eq!(switched.cert_pem(), both.cert_pem());
    assert_eq!(switched.describe(now)[1].fingerprint, next.fingerprint);
    verify(trust(&switched), &switched, "a.example");
    assert!(!accepts(old, &switched, "a.example"));
    let mut new = rustls::RootCertStore::empty();
    new.add(switched.next.as_ref().unwrap().signing.certificate.clone())
        .unwrap();
    verify(new.clone(), &switched, "a.example");

    // Finished, and rotated again.
    assert!(Authority::retire(&cert, &key, now).unwrap());
    assert!(!Authority::retire(&cert, &key, now).unwrap());
    let alone = load();
    assert!(alone.succession().is_none() && trust(&alone).len() == 1);
    verify(new.clone(), &alone, "a.example");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    Authority::rotate(&cert, &key, now, now).unwrap();
    Authority::rotate(&cert, &key, later, now).unwrap();
    let third = load();
    assert_eq!(trust(&third).len(), 2, "the first is gone");
    assert!(!accepts(new, &third, "a.example"));
}

/// A rotation that is interrupted anywhere leaves an authority that loads, and is completed later.
#[test]
fn a_rotation_is_repeated_after_an_interruption() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
    let now = OffsetDateTime::now_utc();
    Authority::load_or_create(&cert, &key).unwrap();
    let before = fs::read_to_string(&cert).unwrap();
    Authority::rotate(&cert, &key, now, now).unwrap();
    // Not published yet.
    fs::write(&cert, before).unwrap();
    let loaded = Authority::load_or_create(&cert, &key).unwrap();
    assert_eq!(certificates(loaded.cert_pem()).len(), 2);
    // The next key has become the present one, and nothing else is done.
    fs::rename(succession::next_to(&key), &key).unwrap();
    let loaded = Authority::load_or_create(&cert, &key).unwrap();
    let signs = loaded.describe(now)[0].fingerprint.clone();
    assert_eq!(loaded.describe(now).len(), 1);
    assert!(Authority::retire(&cert, &key, now).unwrap());
    let loaded = Authority::load_or_create(&cert, &key).unwrap();
    assert_eq!(loaded.describe(now)[0].fingerprint, signs);
    assert_eq!(certificates(loaded.cert_pem()).len(), 1);
}

/// A client that trusts `roots` accepts the authority's leaf for `name`.
fn verify(roots: rustls::RootCertStore, authority: &Authority, name: &str) {
    assert!(accepts(roots, authority, name));
}

fn accepts(roots: rustls::RootCertStore, authority: &Authority, name: &str) -> bool {
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        crate::tls::provider(),
    )
    .build()
    .unwrap();
    let leaf = authority
        .mint(&host(name), OffsetDateTime::now_utc())
        .unwrap();
    let server = name.trim_matches(['[', ']']).to_owned();
    rustls::client::danger::ServerCertVerifier::verify_server_cert(
        &*verifier,
        &leaf.cert[0],
        &leaf.cert[1..],
        &server.try_into().unwrap(),
        &[],
        rustls::pki_types::UnixTime::now(),
    )
    .is_ok()
}
