//! The repository holds certificate profiles, never a private key.

use super::files;

/// Whether some text has the first line of a private key in PEM (RFC 7468 section 10 and 11), in the
/// older forms of OpenSSL, or in that of OpenSSH.
fn holds_private_key(text: &[u8]) -> bool {
    let begin = b"-----BEGIN ";
    memchr::memmem::find_iter(text, begin).any(|at| {
        let rest = &text[at + begin.len()..];
        let label = rest.split(|byte| *byte == b'-').next().unwrap_or_default();
        let label = String::from_utf8_lossy(label);
        label == "PRIVATE KEY"
            || label.ends_with(" PRIVATE KEY")
            || label.ends_with(" PRIVATE KEY BLOCK")
    })
}

#[test]
fn no_file_holds_a_private_key() {
    let holds = |path: &std::path::PathBuf| {
        let text = std::fs::read(files::root().join(path)).expect("a file");
        holds_private_key(&text)
    };
    let keys: Vec<_> = files::all().into_iter().filter(holds).collect();
    assert!(keys.is_empty(), "private keys in {keys:?}");
}

#[test]
fn a_private_key_is_recognised_in_each_form() {
    for label in [
        "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ] {
        // Put together here, so that this file does not hold what it looks for.
        let text = format!("some text\n-----BEGIN {label}-----\nAAAA\n");
        assert!(holds_private_key(text.as_bytes()), "{label}");
    }
    for label in ["CERTIFICATE", "PUBLIC KEY", "EC PARAMETERS"] {
        let text = format!("-----BEGIN {label}-----\nAAAA\n");
        assert!(!holds_private_key(text.as_bytes()), "{label}");
    }
}
