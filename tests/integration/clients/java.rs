//! Clients for Java, which read no password of a proxy: under `egret run` they need none.

use super::{installed, text};
use crate::needs::{Need, needs};
use crate::world::{Output, VALUE, World, one_upstream};

fn program(name: &str) -> String {
    let programs = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/integration/clients/programs"
    );
    format!("{programs}/{name}")
}

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
