//! Signatures that clients make themselves: no value is spent on one that would fail upstream.

use super::way::Way;
use crate::client::assert_refused;

const PLACES: &[&str] = &["header", "query", "path", "body"];

/// An `Authorization` value or a query, both with a signature.
const AUTHORIZATIONS: [&str; 15] = [
    r#"OAuth oauth_consumer_key="k", oauth_signature_method="HMAC-SHA1", oauth_signature="bYT5CMsGcbgUdFHObYMEfcx6bsw%3D""#,
    r#"Signature keyId="k",algorithm="hmac-sha256",headers="(request-target) date",signature="c2ln""#,
    "GOOG4-HMAC-SHA256 Credential=k/20260101/auto/storage/goog4_request, SignedHeaders=host, Signature=00",
    "GOOG4-RSA-SHA256 Credential=k/20260101/auto/storage/goog4_request, SignedHeaders=host, Signature=00",
    "SharedKey account:c2lnbmF0dXJl",
    "SharedKeyLite account:c2lnbmF0dXJl",
    "AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=",
    "TC3-HMAC-SHA256 Credential=k/2026-01-01/cvm/tc3_request, SignedHeaders=host, Signature=00",
    "HMAC-SHA256 Credential=k&SignedHeaders=host&Signature=c2ln",
    "acs key:c2ln",
    "bce-auth-v1/key/2026-01-01T00:00:00Z/1800/host/00",
    "OBS key:c2ln",
    "q-sign-algorithm=sha1&q-ak=key&q-signature=00",
    "JDCLOUD2-HMAC-SHA256 Credential=k/20260101/x/vm/jdcloud2_request, SignedHeaders=host, Signature=00",
    r#"MAC id="k", nonce="1:n", mac="c2ln""#,
];

const QUERIES: [&str; 9] = [
    "X-Goog-Algorithm=GOOG4-HMAC-SHA256&X-Goog-Signature=00",
    "oauth_consumer_key=k&oauth_signature=c2ln",
    "AWSAccessKeyId=k&Expires=1&Signature=c2ln",
    "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-signature=00",
    "X%2DAmz%2dSignature=00",
    "oauth%5Fsignature=c2ln",
    "q-sign-algorithm=sha1&q-signature=00",
    "OSSAccessKeyId=k&Expires=1&Signature=c2ln",
    "Expires=1&Signature=c2ln&Key-Pair-Id=k",
];

/// Digests, signatures and lengths of a body under other names than its own.
const OF_BODIES: [&str; 14] = [
    "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==",
    "X-Amz-Content-Sha256: 00",
    "x-amz-checksum-crc32: AAAAAA==",
    "x-goog-hash: crc32c=AAAAAA==",
    "x-ms-content-crc64: AAAAAAAAAAA=",
    "X-Checksum-Sha1: 00",
    "OC-Checksum: SHA1:00",
    "Upload-Checksum: sha1 AA==",
    "X-Hub-Signature-256: sha256=00",
    "Stripe-Signature: t=1,v1=00",
    "webhook-signature: v1,AA==",
    "X-Shopify-Hmac-Sha256: AA==",
    "Content-Range: bytes 0-6/7",
    "Upload-Length: 7",
];

#[tokio::test]
async fn a_value_is_not_spent_on_a_signature_that_would_fail() {
    for way in Way::ALL {
        let (world, stub) = way.world(&[], PLACES).await;
        for authorization in AUTHORIZATIONS {
            let line = format!("Authorization: {authorization}");
            let answer = way
                .post_to(&world, "/x?a=%3C%3Cpat%3E%3E", &[&line], b"")
                .await;
            assert_refused(&answer, "request_signed");
        }
        for query in QUERIES {
            let target = format!("/x?{query}&a=%3C%3Cpat%3E%3E");
            assert_refused(
                &way.post_to(&world, &target, &[], b"").await,
                "request_signed",
            );
        }
        for line in [
            r#"Signature-Input: sig1=("@method");keyid="k""#,
            r#"Signature: keyId="k",headers="date",signature="c2ln""#,
        ] {
            let lines = [line, "X-Api-Key: <<pat>>"];
            assert_refused(&way.post(&world, &lines, b"").await, "request_signed");
        }
        let lines = [
            "Authorization: Basic eDp5",
            "Authorization: AWS4-HMAC-SHA256 Credential=k, SignedHeaders=host, Signature=00",
            "X-Api-Key: <<pat>>",
        ];
        assert_refused(&way.post(&world, &lines, b"").await, "request_signed");
        for line in OF_BODIES {
            let lines = [line, "Content-Type: text/plain"];
            let answer = way.post(&world, &lines, b"<<pat>>").await;
            assert_refused(&answer, "request_signed");
        }
        let digest =
            r#"Authorization: Digest username="u", realm="r", nonce="n", uri="/x", response="00""#;
        let answer = way
            .post_to(&world, "/x?a=%3C%3Cpat%3E%3E", &[digest], b"")
            .await;
        assert_refused(&answer, "request_signed");
        let whole = format!("{digest}, qop=auth-int");
        let answer = way
            .post(&world, &[&whole, "Content-Type: text/plain"], b"<<pat>>")
            .await;
        assert_refused(&answer, "request_signed");
        let form = "Content-Type: application/x-www-form-urlencoded";
        let oauth = format!("Authorization: {}", AUTHORIZATIONS[0]);
        assert_refused(
            &way.post(&world, &[&oauth, form], b"a=<<pat>>").await,
            "request_signed",
        );
        assert_eq!(stub.connections().len(), 0, "{way:?}");
        assert!(!world.ledger().iter().any(|line| line["event"] == "use"));
    }
}

/// What such a signature does not cover is put in, and so are credentials that are no signature.
#[tokio::test]
async fn what_a_signature_does_not_cover_is_put_in() {
    let way = Way::Http1;
    let (world, stub) = way.world(&[], PLACES).await;
    let oauth = format!("Authorization: {}", AUTHORIZATIONS[0]);
    let digest =
        r#"Authorization: Digest username="u", realm="r", nonce="n", uri="/x", response="00""#;
    let plain = r#"Authorization: OAuth oauth_consumer_key="k", oauth_signature_method="PLAINTEXT", oauth_signature="<<pat>>%26""#;
    let json = "Content-Type: application/json";
    let text = "Content-Type: text/plain";
    let cases: [(&[&str], &[u8]); 9] = [
        (&[&oauth, "X-Api-Key: <<pat>>"], b""),
        (&[&oauth, json], br#"{"k":"<<pat>>"}"#),
        (&[digest, "X-Api-Key: <<pat>>"], b""),
        (&[digest, json], br#"{"k":"<<pat>>"}"#),
        (&[plain], b""),
        (&["Authorization: OAuth <<pat>>"], b""),
        (&["X-Hub-Signature-256: <<pat>>"], b""),
        (&["x-amz-sdk-checksum-algorithm: CRC32", text], b"<<pat>>"),
        (&["Want-Repr-Digest: sha-256=1", text], b"<<pat>>"),
    ];
    for (lines, body) in cases {
        let answer = way.post(&world, lines, body).await;
        assert_eq!(answer.status, 200, "{lines:?} {}", answer.text());
    }
    assert_eq!(stub.take().len(), cases.len());
}
