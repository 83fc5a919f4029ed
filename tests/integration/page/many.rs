//! Long lists: every page, search and order has all of them, each once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::browser::{Browser, root};
use crate::world::World;

/// Credentials without being asked for many.
const FEW: usize = 230;
/// Credentials of one import.
const BATCH: usize = 2_000;

fn how_many() -> usize {
    match std::env::var_os("EGRET_TEST_LONG") {
        Some(_) => 100_000,
        None => FEW,
    }
}

/// A slug, whose number is not its place in the order of names.
fn slug(number: usize) -> String {
    format!("key-{:06}", (number * 7919) % 1_000_003)
}

/// Saves so many logins of `owner`. Every tenth has a host of its own.
async fn save(world: &World, owner: &str, count: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(BATCH) {
        let mut csv = "name,url,username,password\n".to_owned();
        for number in batch {
            let host = if number % 10 == 0 { "rare" } else { "common" };
            let slug = slug(*number);
            writeln!(
                csv,
                "{slug},https://{host}.example.test,user,passw0rd-{number:08}"
            )
            .expect("a row");
        }
        let import = [
            "credential",
            "import",
            "-",
            "--format",
            "csv",
            "--save",
            "--json",
            "--owner",
            owner,
        ];
        world.run_with(&import, csv.as_bytes()).await.ok();
    }
}

/// The text of a page, and how long it took.
async fn page(browser: &mut Browser, world: &World, path: &str) -> (String, Duration) {
    let begun = Instant::now();
    let answer = browser.get(world, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    (answer.text(), begun.elapsed())
}

/// The slugs of a list, in its order.
fn slugs(page: &str) -> Vec<String> {
    let links = page.split("<a class=\"row-link\" href=\"").skip(1);
    let slug = |link: &str| {
        let path = link.split('"').next().expect("an address");
        path.rsplit('/').next().expect("a slug").to_owned()
    };
    links.map(slug).collect()
}

/// The address of the next page of a list, if there is one.
fn next(page: &str, of: &str) -> Option<String> {
    let (_, pages) = page.split_once(&format!("aria-label=\"Pages of {of}\""))?;
    let (pages, _) = pages.split_once("</nav>").expect("its end");
    let (_, rest) = pages.split_once("rel=\"next\" href=\"")?;
    let address = rest.split('"').next().expect("an address");
    Some(address.replace("&amp;", "&").replace("&#38;", "&"))
}

#[tokio::test]
async fn a_list_of_many_credentials_has_each_of_them_once() {
    let count = how_many();
    let world = World::builder().start().await;
    let mut browser = root(&world).await;
    let begun = Instant::now();
    save(&world, "root", count).await;
    println!("{count} credentials saved: {:?}", begun.elapsed());

    // All pages, one after the other.
    let (mut seen, mut slowest) = (Vec::new(), Duration::ZERO);
    let mut address = Some("/settings/credentials".to_owned());
    // The first page waits for what was just saved.
    page(&mut browser, &world, "/settings/credentials").await;
    while let Some(path) = address {
        let (text, took) = page(&mut browser, &world, &path).await;
        slowest = slowest.max(took);
        seen.extend(slugs(&text));
        address = next(&text, "credentials");
    }
    let all: BTreeSet<_> = (0..count).map(slug).collect();
    assert!(seen.iter().eq(&all), "by name, each once");
    println!("{} pages, the slowest {slowest:?}", seen.len().div_ceil(50));

    // Search, filters and orders.
    let rare = count.div_ceil(10);
    for (what, query, found) in [
        ("search for a slug", format!("q={}", slug(3)), 1),
        ("search for a host", "q=rare.example".to_owned(), rare),
        ("search for nothing", "q=no-such-thing".to_owned(), 0),
        ("state", "state=active".to_owned(), count),
        ("owner", "whose=others".to_owned(), 0),
        ("oldest first", "sort=age".to_owned(), count),
        ("last used first", "sort=used".to_owned(), count),
    ] {
        let path = format!("/settings/credentials?{query}");
        let (text, took) = page(&mut browser, &world, &path).await;
        let said = text.split("role=\"status\">").nth(1).expect("a count");
        let digits = said.chars().take_while(|c| c.is_ascii_digit() || *c == ',');
        let digits: String = digits.filter(char::is_ascii_digit).collect();
        assert_eq!(digits, found.to_string(), "{what}");
        assert_eq!(slugs(&text).len(), found.min(50), "{what}");
        println!("{what}: {took:?}");
    }
    for path in ["/", "/settings/clients", "/settings/people", "/ledger"] {
        let (_, took) = page(&mut browser, &world, path).await;
        println!("{path}: {took:?}");
    }
}

/// What stands between these two texts, each time.
fn between(text: &str, begin: &str, end: &str) -> Vec<String> {
    let parts = text.split(begin).skip(1);
    let until = |part: &str| part.split(end).next().unwrap_or_default().to_owned();
    parts.map(until).collect()
}

/// Everything in a list, page after page. `named` tells what is on a page.
async fn walked(
    browser: &mut Browser,
    world: &World,
    (path, of): (&str, &str),
    named: impl Fn(&str) -> Vec<String>,
) -> Vec<String> {
    let (mut seen, mut address) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = address {
        let (text, _) = page(browser, world, path.split('#').next().expect("a path")).await;
        let found = named(&text);
        assert!((1..=50).contains(&found.len()), "{path}: {}", found.len());
        seen.extend(found);
        address = next(&text, of);
    }
    seen
}

/// Users, groups and members: more than a thousand of the first and the last.
#[tokio::test]
async fn lists_of_people_and_clients_have_each_of_them_once() {
    const USERS: usize = 1_010;
    const GROUPS: usize = 60;
    const TOKENS: usize = 60;
    let world = World::builder().start().await;
    let mut browser = root(&world).await;
    let user = |number: usize| format!("user-{number:04}");
    let users: BTreeSet<String> = (0..USERS).map(user).collect();
    let groups: BTreeSet<String> = (0..GROUPS).map(|number| format!("g-{number:03}")).collect();
    let mut file = String::new();
    for name in &users {
        writeln!(file, "[users.{name}]").expect("a line");
    }
    for name in &groups {
        writeln!(file, "[groups.{name}]").expect("a line");
    }
    let members: Vec<_> = users.iter().map(|name| format!("{name:?}")).collect();
    writeln!(file, "[groups.all]\nmembers = [{}]", members.join(", ")).expect("a line");
    world.run_with(&["apply", "-"], file.as_bytes()).await.ok();

    let people = "/settings/people";
    let roles = |text: &str| between(text, "aria-label=\"Role of ", "\"");
    let seen = walked(&mut browser, &world, (people, "users"), roles).await;
    assert!(seen.is_sorted_by(|one, next| one < next), "each once");
    let of_file = seen.iter().filter(|name| users.contains(*name));
    assert!(of_file.eq(&users), "{} users", seen.len());
    let cards = |text: &str| between(text, "aria-label=\"User to put into ", "\"");
    let seen = walked(&mut browser, &world, (people, "groups"), cards).await;
    let all: BTreeSet<_> = groups.iter().cloned().chain(["all".to_owned()]).collect();
    assert!(seen.iter().eq(&all), "{} groups", seen.len());
    let removable = |text: &str| between(text, "name=\"user\" value=\"", "\"");
    let seen = walked(&mut browser, &world, (people, "members of all"), removable).await;
    assert!(seen.iter().eq(&users), "{} members", seen.len());

    // Clients and tokens are made one by one.
    let many = if how_many() > FEW { 1_010 } else { TOKENS };
    let client = |number: usize| format!("client-{number:04}");
    for number in 0..many {
        let form = [("name", client(number)), ("expires", "90d".to_owned())];
        let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
        let added = browser.post(&world, "/settings/clients", &form).await;
        assert_eq!(added.status, 200, "{}", added.text());
    }
    for number in 0..TOKENS {
        let name = format!("token {number}");
        let form = [
            ("name", name.as_str()),
            ("scope", "read"),
            ("expires", "30d"),
        ];
        let added = browser.post(&world, "/settings/tokens", &form).await;
        assert_eq!(added.status, 200, "{}", added.text());
    }
    let links = |text: &str| between(text, "href=\"/settings/clients/", "/remove\"");
    let seen = walked(
        &mut browser,
        &world,
        ("/settings/clients", "clients"),
        links,
    )
    .await;
    // The client of the test's own world is among them.
    assert!(seen.is_sorted_by(|one, next| one < next), "each once");
    let added = seen.into_iter().filter(|name| name.starts_with("client-"));
    assert!(added.eq((0..many).map(client)));
    let ids = |text: &str| between(text, "<span class=\"sub mono\">", "</span>");
    let seen = walked(&mut browser, &world, ("/settings/tokens", "tokens"), ids).await;
    let different: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), different.len()), (TOKENS, TOKENS));
    // A place of nothing that is there is a place all the same, and one that is none is the first.
    for (path, found) in [
        ("/settings/clients?after=zzz", 0),
        ("/settings/clients?after=client-0009x", 50),
        ("/settings/tokens?after=hunter2", 50),
    ] {
        let (text, _) = page(&mut browser, &world, path).await;
        let rows = text.matches("<th scope=\"row\">").count();
        assert_eq!(rows, found, "{path}");
    }

    // What is sent from a later page leads back there.
    let form = [("do", "disable"), ("users_after", "user-0500")];
    let path = "/settings/people/users/user-0501";
    let changed = browser.post(&world, path, &form).await;
    let back = changed.header("location").expect("a way back");
    assert_eq!(
        back,
        "/settings/people?done=user-changed&users_after=user-0500"
    );
}
