//! `egret run --isolate`: what the program sees of files with credentials, and of the services of the machine.

use tokio::net::UnixListener;

use super::isolated::{isolated, needs_isolation, python, shell};
use crate::needs::{Need, may_make_namespace, needs, skipped};
use crate::world::{HOST, SLUG, VALUE, one_upstream};

#[tokio::test]
async fn credentials_of_other_programs_and_sockets_are_hidden_unless_shown() {
    needs_isolation!(Need::Program("python3"));
    let (world, _stub) = one_upstream().await;
    let home = world.scratch();
    std::fs::create_dir_all(home.join(".ssh")).expect("made");
    std::fs::create_dir_all(home.join(".docker")).expect("made");
    for (file, text) in [
        (".ssh/id_ed25519", "key"),
        (".netrc", "machine h password p"),
        (
            ".docker/config.json",
            "{\"auths\": {\"h\": {\"auth\": \"x\"}}}",
        ),
    ] {
        std::fs::write(home.join(file), text).expect("written");
    }
    let path = home.join("service.sock");
    let _service = UnixListener::bind(&path).expect("a socket");
    let script = format!(
        "print(os.listdir('.ssh'), open('.netrc').read(), open('.docker/config.json').read())\n\
         try:\n    socket.socket(socket.AF_UNIX).connect('{}')\n    print('connected')\n\
         except OSError:\n    print('no service')",
        path.display()
    );
    assert_eq!(
        python(&world, &[], &script).await.ok(),
        "[]  {}\nno service\n"
    );
    let shown = python(
        &world,
        &["--show", ".netrc"],
        "print(open('.netrc').read())",
    )
    .await
    .ok();
    assert_eq!(shown, "machine h password p\n");
    let own = isolated(
        &world,
        &["--show", world.data.to_str().expect("text")],
        &["true"],
    )
    .await;
    assert!(own.stderr.contains("--show cannot name"), "{own:#?}");
}

#[tokio::test]
async fn files_with_credentials_show_placeholders_where_there_are_any() {
    needs_isolation!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let home = world.scratch();
    let netrc = format!(
        "machine {HOST}\nlogin me\npassword of-the-user-1\nmachine other.example login x password of-the-user-2\n"
    );
    std::fs::write(home.join(".netrc"), netrc).expect("written");
    std::fs::write(
        home.join(".npmrc"),
        "//other.example/:_authToken=of-the-user-3\n",
    )
    .expect("written");
    std::fs::create_dir_all(home.join(".pip")).expect("made");
    let pip = "[global]\nindex-url = https://u:of-the-user-4@other.example/simple\ntimeout = 7\n";
    std::fs::write(home.join(".pip/pip.conf"), pip).expect("written");
    let script = format!(
        "cat .netrc .npmrc .pip/pip.conf; curl -sS --netrc https://{HOST}/netrc; \
         echo x >.netrc 2>/dev/null && echo written; true"
    );
    let expected = format!("machine {HOST}\nlogin me\npassword <<{SLUG}>>\nok");
    assert_eq!(shell(&world, &script).await.ok(), expected);
    let pair = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("me:{VALUE}"));
    assert_eq!(
        stub.take_one().header("authorization"),
        Some(format!("Basic {pair}"))
    );
}
