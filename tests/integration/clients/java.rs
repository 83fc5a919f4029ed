//! Clients for Java, which read no password of a proxy: under `egret run` they need none.

use super::{installed, program, text};
use crate::needs::{Need, needs};
use crate::world::{Output, VALUE, World, one_upstream, one_upstream_with};

async fn java(world: &World, args: &[&str]) -> Output {
    world.run(&[&["run", "--", "java"], args].concat()).await
}

#[tokio::test]
async fn the_jdks_own_clients_send_their_authorization_as_they_are() {
    needs!(Need::Jdk);
    let (world, stub) = one_upstream().await;
    let said = java(&world, &[&program("Bearer.java")]).await.ok();
    assert_eq!(said, "200\n200\n");
    let seen = stub.take();
    assert_eq!(seen.len(), 2);
    for request in seen {
        let bearer = format!("Bearer {VALUE}");
        assert_eq!(request.header("authorization"), Some(bearer));
    }
}

#[tokio::test]
async fn okhttp_sends_its_authorization_as_it_is() {
    needs!(Need::Jdk, Need::JavaClients);
    let (world, stub) = one_upstream().await;
    let classes = format!("{}/*", text(&installed("java")));
    let args = ["-cp", &classes, &program("Ok.java")];
    assert_eq!(java(&world, &args).await.ok(), "200\n");
    let bearer = format!("Bearer {VALUE}");
    assert_eq!(stub.take_one().header("authorization"), Some(bearer));
}

#[tokio::test]
async fn options_of_the_users_own_lead_no_jvm_past_egret() {
    needs!(Need::Jdk);
    let (world, stub) = one_upstream().await;
    let mut command = world.command(&["run", "--", "java", &program("Bearer.java")]);
    command
        .env(
            "_JAVA_OPTIONS",
            "-Dhttps.proxyHost=corporate.invalid -Dhttps.proxyPort=1 -Degret.test=1",
        )
        .env(
            "JDK_JAVA_OPTIONS",
            "-Djavax.net.ssl.trustStore=/nowhere.jks",
        );
    let said = crate::world::finish(command, b"").await;
    assert!(
        said.stderr.contains("-Degret.test=1"),
        "other options are kept: {said:#?}"
    );
    assert_eq!(said.ok(), "200\n200\n");
    assert_eq!(stub.take().len(), 2);
}

/// What waits for leave over HTTP/2 gets it, whether the body is held, spooled or passed on.
async fn uploads_that_expect_leave(args: &[&str]) {
    let alpn = ["h2", "http/1.1"].map(toml::Value::from);
    let builder = World::builder().set("proxy.alpn", alpn.to_vec());
    let (world, stub) = one_upstream_with(builder).await;
    let output = java(&world, args).await;
    let log = world.log();
    assert!(output.status.success(), "{output:#?}\n{log}");
    let said = "HTTP_2 200\nHTTP_2 200\nHTTP_2 200\nHTTP_2 424\n";
    assert_eq!(output.stdout, said, "{output:#?}\n{log}");
    let seen = stub.take();
    let lengths: Vec<usize> = seen.iter().map(|request| request.body.len()).collect();
    let json = serde_json::json!({"filler": "x".repeat(3_000_000), "k": VALUE});
    assert_eq!(seen[0].body, format!("small {VALUE}").as_bytes());
    let arrived: serde_json::Value = serde_json::from_slice(&seen[1].body).expect("JSON");
    assert!(arrived == json);
    assert_eq!((lengths.len(), lengths[2]), (3, 3_000_000));
}

#[tokio::test]
async fn the_jdks_client_is_given_leave_over_http2() {
    needs!(Need::Jdk);
    uploads_that_expect_leave(&[&program("Expect.java")]).await;
}

#[tokio::test]
async fn okhttp_is_given_leave_over_http2() {
    needs!(Need::Jdk, Need::JavaClients);
    let classes = format!("{}/*", text(&installed("java")));
    uploads_that_expect_leave(&["-cp", &classes, &program("OkExpect.java")]).await;
}
