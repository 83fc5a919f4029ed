//! What somebody may not know of takes no other time to be answered than what is not there.

use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{Api, When, expect};
use crate::within;
use crate::world::World;

/// Pairs of questions in a round.
const PAIRS: usize = 250;
/// Rounds until they have to agree: a busy machine disturbs some.
const ROUNDS: usize = 30;

/// How long one question takes, on a connection that is open.
async fn ask(api: &Api<'_>, path: &str, message: Option<&str>) -> Duration {
    let mut wire = api.connect().await;
    let (method, when) = match message {
        Some(_) => ("POST", When::Any),
        None => ("GET", When::Always),
    };
    let request = api.request(method, path, when, message);
    let begun = Instant::now();
    wire.send(request).await.expect("send a request");
    let answer = within("an answer", wire.response(false)).await;
    let took = begun.elapsed();
    expect(&answer.expect("an answer"), 404);
    took
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The middle of the times of each of two questions, which take turns: what else the machine does
/// disturbs both alike.
async fn compare(api: &Api<'_>, paths: [&str; 2], message: Option<&str>) -> [Duration; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for pair in 0..PAIRS {
        for turn in 0..2 {
            let which = (pair + turn) % 2;
            times[which].push(ask(api, paths[which], message).await);
        }
    }
    times.map(middle)
}

#[tokio::test]
async fn what_is_not_theirs_takes_as_long_as_what_is_not_there() {
    let world = World::builder().start().await;
    for user in ["alice", "dave"] {
        world.run(&["user", "add", user]).await.ok();
    }
    let alice = Api::of(&world, "alice", "manage").await;
    let dave = Api::of(&world, "dave", "manage").await;
    let value = json!({ "value": "v", "hosts": ["api.example.test"] });
    expect(
        &alice.put("/credentials/alice/key", When::New, value).await,
        201,
    );
    expect(
        &alice.put("/bundles/alice/work", When::New, json!({})).await,
        201,
    );
    expect(
        &alice.put("/clients/laptop", When::New, json!({})).await,
        201,
    );
    let probe = r#"{"method":"GET","url":"https://api.example.test/"}"#;
    let handover = r#"{"to":"dave"}"#;
    for (theirs, message) in [
        ("/credentials/alice/key", None),
        ("/bundles/alice/work", None),
        ("/clients/laptop", None),
        ("/credentials/alice/key/usage", None),
        ("/credentials/alice/key/uses", None),
        ("/credentials/alice/key/versions/probe", Some(probe)),
        ("/credentials/alice/key/handover", Some(handover)),
    ] {
        // A name of the same length.
        let absent = theirs.replace("key", "kex").replace("work", "worx");
        let absent = &*absent.replace("laptop", "laptox");
        let mut rounds = Vec::new();
        loop {
            let [known, unknown] = compare(&dave, [theirs, absent], message).await;
            let difference = known.abs_diff(unknown);
            rounds.push((known, unknown));
            // A look into the store or the ledger would take many times as long.
            if difference <= Duration::from_micros(15).max(known / 50) {
                println!("{theirs}: {known:?} and {unknown:?}");
                break;
            }
            assert!(
                rounds.len() < ROUNDS,
                "{theirs} and {absent} took {rounds:?}"
            );
        }
    }
}
