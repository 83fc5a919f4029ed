//! The hunt in the names of fields, which come back in their own case or in lower case: in the
//! head of an answer, in interim answers before it and in trailers.

use super::canary::{self, Chance};
use super::client::{Client, Mode, using};
use super::search::Search;
use super::{Echo, Hunt, admin, answer, answers, cases, echoed_forms};
use crate::client::Wanted;
use crate::http2::frames;
use crate::leak::percent;
use crate::upstream::Step;
use crate::wire::Headers;
use crate::world::HOST;

/// Lengths in bytes of values that names are made of.
const LENGTHS: &[usize] = &[8, 9, 10, 12, 15, 20, 36, 60];

/// Where in the answer the name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Interim,
    Head,
    Trailers,
}

/// Whether a text can be the name of a field, and is of a length that is compared.
pub fn is_token(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    (1..200).contains(&text.len()) && text.iter().all(allowed)
}

/// A form of the value, some letters of it in the other case or percent-encoded, perhaps as a part
/// of a longer name.
fn spelled(chance: &mut Chance, value: &[u8]) -> String {
    let mut forms = echoed_forms(value);
    forms.retain(|(_, form)| is_token(form));
    let mut form = chance.pick(&forms).1.clone();
    match chance.below(4) {
        0 => form.iter_mut().for_each(|byte| {
            if chance.once_in(3) && byte.is_ascii_alphabetic() {
                *byte ^= 0x20;
            }
        }),
        1 => form.make_ascii_lowercase(),
        2 => {
            let kept: Vec<bool> = (0..256).map(|_| !chance.once_in(4)).collect();
            // `%` stays what it is: most libraries would write it as `%25`, and it is a form then.
            form = percent(&form, chance.once_in(2), |byte| kept[usize::from(byte)]);
        }
        _ => {}
    }
    let form = String::from_utf8(form).expect("a token");
    match chance.below(3) {
        0 => format!("X-{form}"),
        1 => format!("{form}-Id"),
        _ => form,
    }
}

/// An answer with a field of that name.
fn named(chance: &mut Chance, place: Place, name: &str) -> Echo {
    let at = |wanted: Place| match place == wanted {
        true => format!("{name}: 1\r\nX-After: 1\r\n"),
        false => String::new(),
    };
    let mut head = match place {
        Place::Interim => format!("HTTP/1.1 103 Early Hints\r\n{}\r\n", at(Place::Interim)),
        _ => String::new(),
    };
    head += &format!("HTTP/1.1 200 OK\r\nX-Before: 1\r\n{}", at(Place::Head));
    let wire = match place == Place::Trailers || chance.once_in(2) {
        true => format!(
            "{head}Trailer: {}, x-after\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{}\r\n",
            name.to_ascii_lowercase(),
            at(Place::Trailers)
        ),
        false => format!("{head}Content-Length: 2\r\n\r\nok"),
    };
    let name = name.to_ascii_lowercase();
    Echo {
        place: answers::Place::HeaderName,
        coding: "identity".to_owned(),
        steps: vec![Step::Send(wire.into_bytes())],
        frames: std::sync::Arc::new(move |stream| over_http2(stream, place, &name)),
        is_plain: false,
    }
}

/// The same over HTTP/2.
fn over_http2(stream: u32, place: Place, name: &str) -> Vec<u8> {
    let field = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let at = |wanted: Place| -> Headers {
        match place == wanted {
            true => vec![field(name, "1"), field("x-after", "1")],
            false => Vec::new(),
        }
    };
    let section = |ends: bool, status: Option<&str>, place: Place| {
        let status = status.map(|status| field(":status", status));
        let fields: Headers = status.into_iter().chain(at(place)).collect();
        frames::section(stream, ends, &fields)
    };
    let mut bytes = Vec::new();
    if place == Place::Interim {
        bytes.extend(section(false, Some("103"), place));
    }
    bytes.extend(section(false, Some("200"), Place::Head));
    bytes.extend(frames::data(stream, place != Place::Trailers, b"ok", 2));
    if place == Place::Trailers {
        bytes.extend(section(true, None, place));
    }
    bytes
}

/// No name of a field is a value, in its own case or in another, whether the request sent it or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_brings_a_value_back() {
    let mut hunt = Hunt::begin("no_name_brings_a_value_back").await;
    let tokens = canary::plant_tokens(&mut hunt.chance, "token", LENGTHS);
    for token in &tokens {
        let limits = [
            "--host", HOST, "--in", "header", "--in", "query", "--in", "path", "--in", "body",
        ];
        hunt.world.save(&token.slug, &token.value, &limits).await;
    }
    let search = Search::in_lower_case(&tokens.iter().collect::<Vec<_>>());
    let mut passed = 0;
    for mode in Mode::ALL {
        let mut client = Client::new(*mode, Wanted::new(&hunt.world));
        for case in 0..cases() / 4 {
            let canary = &tokens[hunt.chance.below(tokens.len())];
            let place =
                *hunt
                    .chance
                    .pick(&[Place::Interim, Place::Head, Place::Head, Place::Trailers]);
            let name = spelled(&mut hunt.chance, &canary.value);
            let what = format!("{mode:?} case {case}: {} in {place:?}", canary.slug);
            answer(&hunt.stub, named(&mut hunt.chance, place, &name));
            // What is sent is another value as often as not.
            let used = hunt.chance.pick(&tokens);
            let sent = using(&mut hunt.chance, used).asking_for_a_body();
            let (received, answer) = client.exchange(&hunt.world, &sent).await;
            // The list of trailers is a value of a field, and there a value is one in its own case.
            let names = without_announcement(&received).to_ascii_lowercase();
            if let Some((at, found)) = search.find(&names) {
                let around = String::from_utf8_lossy(&names[at.saturating_sub(200)..]).into_owned();
                panic!("{what}: {found} came back at byte {at} of\n{around}");
            }
            let answer = answer.unwrap_or_else(|| panic!("{what}: broken off"));
            assert_eq!(answer.egret_error(), None, "{what}");
            if place == Place::Head {
                assert!(answer.header("x-after").is_some(), "{what}: {answer:?}");
            }
            passed += 1;
        }
    }
    assert_eq!(passed, cases() / 4 * Mode::ALL.len());
    let scrubbed = hunt.world.ledger();
    let scrubbed = scrubbed
        .iter()
        .filter(|line| line["event"] == "scrubbed")
        .count();
    assert!(
        scrubbed > passed / 2,
        "few names were found: {scrubbed} of {passed}"
    );
    let whole = Search::whole(&tokens.iter().collect::<Vec<_>>());
    admin::search(&hunt.world, &whole).await;
    hunt.search_outside(&whole);
}

/// Without the lines `Trailer:`.
fn without_announcement(received: &[u8]) -> Vec<u8> {
    let lines = received.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.to_ascii_lowercase().starts_with(b"trailer"));
    lines.collect::<Vec<_>>().concat()
}
