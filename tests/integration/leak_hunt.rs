//! After uses that succeed and uses that fail, no value is found in any encoding on disk, in the
//! log at trace level, in the ledger, or in any command's output.

use crate::client::{Wanted, basic, request};
use crate::leak::{assert_absent, forms, in_tree};
use crate::upstream::{Door, Step, Stub, ok};
use crate::world::{HOST, World};

/// Values with bytes that every encoding treats differently; one of them is rotated away.
const CANARIES: &[&str] = &[
    "canary-Alpha/7Qx+9&z=\"<é>\"",
    "canary Bravo 2 \\ tail\ttab",
    "canary-Charlie-was-rotated-away",
    "{\"not\":\"json\",\"canary\":\"delta\"}",
];

#[tokio::test]
async fn no_canary_is_anywhere_in_any_encoding() {
    let builder = World::builder()
        .set("upstream.connect_timeout", "1s")
        .set("upstream.first_byte_timeout", "1s")
        .set("upstream.idle_timeout", "1s");
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let mut world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    let everywhere = [
        "--host",
        HOST,
        "--in",
        "header",
        "--in",
        "query",
        "--in",
        "path",
        "--in",
        "body",
        "--in",
        "header:cookie",
    ];
    world.save("alpha", CANARIES[0], &everywhere).await;
    world.save("bravo", CANARIES[1], &everywhere).await;
    world.save("charlie", CANARIES[2], &everywhere).await;
    world.save("delta", CANARIES[3], &everywhere).await;
    world
        .run_with(
            &["credential", "rotate", "charlie"],
            b"charlies-second-value\n",
        )
        .await
        .ok();
    work(&world, &stub).await;
    let mut printed = String::new();
    for args in [
        &["credential", "list"][..],
        &["credential", "list", "--json"],
        &["credential", "show", "alpha", "--json"],
        &["client", "list", "--json"],
        &["ledger", "tail", "--json"],
        &["config", "show"],
    ] {
        let output = world.run(args).await;
        printed.push_str(&output.stdout);
        printed.push_str(&output.stderr);
    }
    world.stop().await;

    let mut values: Vec<Vec<u8>> = CANARIES.iter().map(|c| c.as_bytes().to_vec()).collect();
    values.push(b"charlies-second-value".to_vec());
    let log = world.log_bytes();
    assert!(
        log.len() > 1000,
        "the log at trace level is there to be searched"
    );
    for value in &values {
        let forms = forms(value);
        assert_eq!(in_tree(&world.data, &forms), Vec::<String>::new());
        assert_absent("the log", &log, &forms);
        assert_absent("the ledger", &world.ledger_bytes(), &forms);
        assert_absent("the output of commands", printed.as_bytes(), &forms);
    }
}

/// Every way in which a value is used, and every way in which that fails.
async fn work(world: &World, stub: &Stub) {
    let mut tunnel = world.tunnel().await;
    for slug in ["alpha", "bravo", "charlie", "delta"] {
        let p = format!("<<{slug}>>");
        let header = format!("X-Api-Key: {p}");
        let cookie = format!("Cookie: s={p}");
        tunnel.get("/x", &[&header]).await;
        tunnel.get("/x", &[&cookie]).await;
        tunnel.get(&format!("/p/{p}/q?k={p}"), &[]).await;
        tunnel
            .get(
                "/x",
                &["Authorization: ".to_owned() + &basic("u", &p)]
                    .each_ref()
                    .map(String::as_str),
            )
            .await;
        for (media_type, body) in [
            ("application/json", format!("{{\"k\":\"{p}\"}}")),
            ("application/x-www-form-urlencoded", format!("k={p}")),
            ("text/plain", p.clone()),
            ("application/xml", format!("<k>&lt;&lt;{slug}&gt;&gt;</k>")),
            (
                "multipart/form-data; boundary=B",
                format!(
                    "--B\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n{p}\r\n--B--\r\n"
                ),
            ),
        ] {
            tunnel.post("/x", media_type, &body).await;
        }
        // The request and the answer break off in the middle.
        for steps in [
            vec![Step::Close],
            vec![Step::Hang],
            vec![Step::Send(b"garbage\r\n\r\n".to_vec()), Step::Close],
            vec![
                Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_vec()),
                Step::Close,
            ],
        ] {
            stub.steps(steps);
            let mut tunnel = world.tunnel().await;
            let _ = tunnel
                .try_roundtrip(request("GET", &format!("/{p}?k={p}"), &[&header], ""))
                .await;
        }
        stub.answer(ok("ok"));
        stub.door(Door::Slam);
        let fresh = Wanted::new(world);
        let _ = world
            .tunnel_for(&fresh)
            .await
            .try_roundtrip(request("GET", &format!("/{p}"), &[&header], ""))
            .await;
        stub.door(Door::Open);
        let mixed = request(
            "POST",
            "/x",
            &[&header, "Content-Type: text/plain"],
            "<<no-such>>",
        );
        tunnel.roundtrip(mixed).await;
    }
}

/// A user who pastes the value in place of the slug, or as an argument, gets no echo of it.
#[tokio::test]
async fn a_value_in_the_wrong_place_is_not_repeated() {
    let (world, _stub) = crate::world::one_upstream().await;
    let canary = "canary-in-the-wrong-place";
    let forms = forms(canary.as_bytes());
    let added = world
        .run_with(
            &["credential", "add", "Not A Slug", "--host", HOST],
            format!("{canary}\n").as_bytes(),
        )
        .await;
    let malformed = world
        .run_with(
            &[
                "credential",
                "add",
                "login",
                "--kind",
                "login",
                "--host",
                HOST,
            ],
            format!("{{\"username\": {canary}\n").as_bytes(),
        )
        .await;
    for output in [added, malformed] {
        assert!(!output.status.success());
        assert_absent(
            "the complaint",
            (output.stdout + &output.stderr).as_bytes(),
            &forms,
        );
    }
}
