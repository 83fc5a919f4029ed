//! Lists of many credentials: every page, search and order has all of them, each once.

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

/// The address of the next page, if there is one.
fn next(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("rel=\"next\" href=\"")?;
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
        address = next(&text);
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
