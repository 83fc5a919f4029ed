//! People sign in on the admin listener, which answers for its own names, to its own pages.

use crate::browser::{Browser, PASSWORD, ask, root};
use crate::client::{assert_refused, basic};
use crate::wire::Response;
use crate::world::World;

async fn world() -> World {
    World::builder().start().await
}

fn problem(answer: &Response) -> String {
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/problem+json"),
        "{}",
        answer.text()
    );
    answer.json()["code"].as_str().expect("a code").to_owned()
}

/// Whether the session of a browser is one: the form of re-authentication is for those only.
async fn is_in(world: &World, browser: &Browser) -> bool {
    let answer = browser.clone().get(world, "/reauthenticate").await;
    answer.status == 200
}

/// The link in what the server wrote at its start.
fn first_link(world: &World) -> Option<String> {
    let log = world.log();
    let link = log.lines().find(|line| line.contains("/signin/link/"))?;
    Some(link.trim().to_owned())
}

#[tokio::test]
async fn the_first_start_prints_a_link_that_makes_one_administrator() {
    let mut world = world().await;
    let link = crate::eventually("the link", || first_link(&world)).await;
    let port = world.admin.port();
    let prefix = format!("http://egret.localhost:{port}/signin/link/egl_");
    assert!(link.starts_with(&prefix), "{link}");

    // Whatever looks at the link does not use it up.
    let path = link.split_once(&port.to_string()).expect("a port").1;
    let mut alice = Browser::default();
    for _ in 0..3 {
        let shown = alice.get(&world, path).await;
        assert_eq!(shown.status, 200);
        assert!(shown.text().contains("action=\"/signin/link\""));
    }
    // What is not usable is said, and uses nothing up.
    let token = link.rsplit('/').next().expect("a token");
    let short = [
        ("token", token),
        ("user", "alice"),
        ("password", "short"),
        ("again", "short"),
    ];
    let refused = alice.post(&world, "/signin/link", &short).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("at least 12 characters"));
    assert!(!refused.text().contains("short\""));

    let claim = |name: &'static str| {
        let (world, link) = (&world, &link);
        async move { Browser::default().claim(world, link, name).await.status }
    };
    let (one, two, three) = tokio::join!(claim("user1"), claim("user2"), claim("user3"));
    let mut statuses = [one, two, three];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 410, 410]);
    let users = world.run(&["user", "list", "--json"]).await.json();
    let users = users.as_array().expect("a list").iter();
    let administrators = users.filter(|user| user["role"] == "administrator");
    assert_eq!(administrators.count(), 1);
    let line = world
        .ledger_line("signing in", |line| line["event"] == "user.signed_in")
        .await;
    assert!(
        line["action"]
            .as_str()
            .is_some_and(|who| who.starts_with("page:user"))
    );

    // The next start has nothing to say about it, and the link is in no log of either.
    world.stop().await;
    world.restart().await;
    assert!(world.log().matches("/signin/link/").count() <= 1);
    let ledger = String::from_utf8_lossy(&world.ledger_bytes()).into_owned();
    assert!(!ledger.contains(token) && !ledger.contains("argon2"));
}

#[tokio::test]
async fn a_session_begins_with_a_password_and_ends_when_it_is_told_to() {
    let world = world().await;
    let mut browser = root(&world).await;
    assert!(is_in(&world, &browser).await);
    let cookie = browser.cookie.clone().expect("a cookie");
    assert!(
        cookie.starts_with(&format!("egret-session-{}=egs_", world.admin.port())),
        "{cookie}"
    );

    let out = browser.post(&world, "/signout", &[]).await;
    assert_eq!((out.status, browser.cookie.as_ref()), (303, None));
    let old = Browser {
        cookie: Some(cookie.clone()),
        openid: None,
    };
    assert!(!is_in(&world, &old).await, "the server forgets it too");

    let signed_in = browser.sign_in(&world, "root").await;
    assert_eq!(signed_in.status, 303);
    assert_eq!(signed_in.header("location").as_deref(), Some("/"));
    let field = signed_in.header("set-cookie").expect("a cookie");
    for part in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"] {
        assert!(field.contains(part), "{field}");
    }
    assert_ne!(browser.cookie, Some(cookie));

    // A second browser signs out everywhere.
    let mut second = Browser::default();
    second.sign_in(&world, "root").await;
    assert!(is_in(&world, &second).await && is_in(&world, &browser).await);
    let everywhere = [("everywhere", "true")];
    second.post(&world, "/signout", &everywhere).await;
    assert!(!is_in(&world, &browser).await);

    // The store has no cookie, and no password.
    let found = std::fs::read(world.data.join("egret.db")).expect("the store");
    let log = std::fs::read(world.data.join("egret.db-wal")).unwrap_or_default();
    for secret in ["egs_", PASSWORD] {
        for bytes in [&found, &log] {
            let is_there = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!is_there, "{secret}");
        }
    }
    assert!(!world.log().contains(PASSWORD) && !world.log().contains("egs_"));
}

#[tokio::test]
async fn whatever_is_wrong_about_a_sign_in_is_answered_alike() {
    let world = world().await;
    root(&world).await;
    world.run(&["user", "add", "nopass"]).await.ok();
    let mut bodies = Vec::new();
    for (user, password) in [
        ("root", "not the password"),
        ("nobody", "not the password"),
        ("nopass", "not the password"),
        ("No Name!", "not the password"),
    ] {
        let form = [("user", user), ("password", password)];
        let answer = Browser::default().post(&world, "/signin", &form).await;
        assert_eq!(answer.status, 401, "{user}");
        assert!(answer.header("set-cookie").is_none());
        let typed = user.to_ascii_lowercase();
        bodies.push(answer.text().replace(&typed, ""));
        assert!(!answer.text().contains(password));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:#?}");
    // Where it leads is a path of this listener.
    let form = [
        ("user", "root"),
        ("password", PASSWORD),
        ("next", "https://evil.example/"),
    ];
    let answer = Browser::default().post(&world, "/signin", &form).await;
    assert_eq!(answer.header("location").as_deref(), Some("/"));
}

#[tokio::test]
async fn attempts_at_an_account_are_limited() {
    let world = world().await;
    root(&world).await;
    let form = [("user", "root"), ("password", "a wrong password")];
    let mut limited = None;
    for _ in 0..30 {
        let answer = Browser::default().post(&world, "/signin", &form).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let limited = limited.expect("a limit");
    let seconds = limited.header("retry-after").expect("when to try again");
    assert!(seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0));
}

#[tokio::test]
async fn a_changed_password_ends_other_sessions_and_a_reset_ends_all() {
    let world = world().await;
    let mut browser = root(&world).await;
    let mut other = Browser::default();
    other.sign_in(&world, "root").await;
    let another = "another long password";
    let form = |current: &'static str, again: &'static str| {
        [
            ("current", current),
            ("password", another),
            ("again", again),
        ]
    };
    for (current, again, status) in [
        ("not the password", another, 401),
        (PASSWORD, "something else", 422),
    ] {
        let form = form(current, again);
        let answer = browser.post(&world, "/account/password", &form).await;
        assert_eq!(answer.status, status, "{current}");
    }
    let changed = browser
        .post(&world, "/account/password", &form(PASSWORD, another))
        .await;
    assert_eq!(changed.status, 303);
    assert!(is_in(&world, &browser).await && !is_in(&world, &other).await);
    let old = Browser::default().sign_in(&world, "root").await;
    assert_eq!(old.status, 401);

    let link = world.run(&["user", "reset", "root"]).await.ok();
    assert!(!is_in(&world, &browser).await);
    let claimed = browser.claim(&world, &link, "ignored").await;
    assert_eq!(claimed.status, 303);
    assert!(is_in(&world, &browser).await);
    let again = Browser::default().claim(&world, &link, "root").await;
    assert_eq!(again.status, 410);
    // A disabled user is out at the next request.
    world
        .run(&["user", "add", "second", "--role", "administrator"])
        .await
        .ok();
    world.run(&["user", "disable", "root"]).await.ok();
    assert!(!is_in(&world, &browser).await);
    let disabled = Browser::default().sign_in(&world, "root").await;
    assert_eq!(disabled.status, 401);
}

#[tokio::test]
async fn the_listener_answers_for_its_own_names_to_its_own_pages() {
    let world = world().await;
    let browser = root(&world).await;
    let cookie = format!("Cookie: {}", browser.cookie.expect("a cookie"));
    let port = world.admin.port();
    let page = format!("Host: egret.localhost:{port}");

    let foreign = ask(&world, "GET", "/signin", &["Host: evil.example"], "").await;
    assert_eq!(
        (foreign.status, problem(&foreign).as_str()),
        (421, "unknown_name")
    );
    assert!(foreign.text().contains("admin.names"));
    // Probes need no name.
    let probe = ask(&world, "GET", "/healthz", &["Host: evil.example"], "").await;
    assert_eq!(probe.status, 200);

    // A page of another server on this machine, with the cookie.
    for field in [
        "Sec-Fetch-Site: same-site",
        "Sec-Fetch-Site: cross-site",
        "Origin: http://egret.localhost:9300",
        "Origin: null",
        "X-Nothing: 1",
    ] {
        let answer = ask(&world, "POST", "/signout", &[&page, &cookie, field], "").await;
        assert_eq!(problem(&answer), "foreign_origin", "{field}");
    }
    let origin = format!("Origin: http://egret.localhost:{port}");
    let own = ask(&world, "POST", "/signout", &[&page, &origin], "").await;
    assert_eq!(own.status, 303);

    // Under a name whose cookies others get, there are no sessions.
    let alias = format!("Host: 127.0.0.1:{port}");
    let led = ask(&world, "GET", "/signin", &[&alias], "").await;
    let place = led.header("location").expect("the page");
    assert_eq!(
        (led.status, place),
        (307, format!("http://egret.localhost:{port}/signin"))
    );
    let same = "Sec-Fetch-Site: same-origin";
    let refused = ask(&world, "POST", "/signin", &[&alias, same], "").await;
    assert_eq!(problem(&refused), "foreign_origin");

    // Not through the proxy, which has a way of its own to say so.
    let proxied = format!("http://127.0.0.1:{port}/signin");
    let authorization = format!("Proxy-Authorization: {}", basic("x", &world.token));
    let mut wire = world.dial().await;
    let head =
        format!("GET {proxied} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{authorization}\r\n\r\n");
    wire.send(head).await.expect("the proxy reads");
    let refused = crate::within("an answer", wire.response(false)).await;
    assert_refused(&refused.expect("an answer"), "loop_detected");
    let via = ask(&world, "GET", "/signin", &[&page, "Via: 1.1 egret"], "").await;
    assert_eq!(problem(&via), "through_proxy");
}

#[tokio::test]
async fn every_answer_carries_what_protects_the_page() {
    let world = world().await;
    let mut browser = Browser::default();
    for path in ["/signin", "/no-such-page"] {
        let answer = browser.get(&world, path).await;
        let header = |name: &str| {
            answer
                .header(name)
                .unwrap_or_else(|| panic!("{path}: {name}"))
        };
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe-inline"));
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
        assert!(header("egret-request").starts_with('a'));
    }
    let missing = browser.get(&world, "/no-such-page").await;
    assert_eq!(
        (missing.status, problem(&missing).as_str()),
        (404, "not_found")
    );
    assert_eq!(
        missing.json()["request_id"],
        missing.header("egret-request").expect("an id")
    );
    let method = browser
        .send(
            &world,
            "DELETE",
            "/signin",
            &["Sec-Fetch-Site: same-origin"],
            "",
        )
        .await;
    assert_eq!(problem(&method), "method_not_allowed");
}

#[tokio::test]
async fn probes_are_answered_whatever_people_hold_open() {
    let world = world().await;
    let mut held = Vec::new();
    for _ in 0..200 {
        let socket = tokio::net::TcpStream::connect(world.admin).await;
        let mut wire = crate::wire::Wire::new(socket.expect("the admin listener"));
        let port = world.admin.port();
        let head = format!(
            "POST /signin HTTP/1.1\r\nHost: egret.localhost:{port}\r\n\
             Sec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: 100\r\n\r\n"
        );
        let _ = wire.send(head).await;
        held.push(wire);
    }
    // Most wait for a body that does not come. Those for whom there is no place are told.
    let mut answers = tokio::task::JoinSet::new();
    for mut wire in held {
        answers.spawn(async move { (wire.response(false).await, wire) });
    }
    let mut told = Vec::new();
    let until_told = async {
        while told.len() < 10 {
            let answered = answers.join_next().await.expect("more connections");
            let (answer, wire) = answered.expect("a task");
            told.extend(answer.ok().map(|answer| (problem(&answer), wire)));
        }
    };
    crate::within("being told that there is no place", until_told).await;
    assert!(told.iter().all(|(code, _)| code == "overloaded"));
    assert_eq!(world.admin_get("/readyz").await, Some(200));
}
