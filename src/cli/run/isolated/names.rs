//! The resolver inside: every name has one address, and no query goes anywhere.
//!
//! A name that the program asks for would be a way out if it were looked up: `stolen.evil.example` is
//! a message to whoever runs `evil.example`. So nothing is looked up before Egret decides to connect,
//! and what it decides on is the name that the client then sends. Pure.

use std::net::Ipv4Addr;

use super::network::{ADDRESS_V4, ADDRESS_V6};
use crate::policy::destination::Host;

/// Longest message over UDP without extensions (RFC 1035 section 4.2.1).
pub(super) const LONGEST: usize = 512;
const HEADER: usize = 12;
/// Longest name, on the wire (RFC 1035 section 3.1).
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: u8 = 63;

/// Response, and recursion available.
const RESPONSE: [u8; 2] = [0x80, 0x80];
/// The bits of a query that are repeated: recursion desired.
const REPEATED: u8 = 0x01;
/// Response, or an operation other than a query.
const NO_QUERY: u8 = 0xF8;

const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const NO_SUCH_NAME: u8 = 3;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// How long a client may keep an address, in seconds. It never changes.
const LIFE: u32 = 3_600;

/// The answer to a query; none to what is no query. Some names have an address of their own, of IPv4.
pub(super) fn answer(query: &[u8], has_v6: bool, named: &[(String, Ipv4Addr)]) -> Option<Vec<u8>> {
    let header = query.get(..HEADER)?;
    if header[2] & NO_QUERY != 0 {
        return None;
    }
    let is_one_question = header[4..6] == [0, 1];
    let question = is_one_question
        .then(|| question(&query[HEADER..]))
        .flatten();
    let Some(question) = question else {
        return Some(reply(header, FORMAT_ERROR, &[], None));
    };
    let Some(name) = question.name else {
        return Some(reply(header, NO_SUCH_NAME, question.text, None));
    };
    let is_own = name == "localhost" || name.ends_with(".localhost");
    let own = named.iter().find(|(own, _)| *own == name);
    let address = match (question.kind, question.class) {
        (TYPE_A, CLASS_IN) if own.is_some() => own.map(|(_, own)| own.octets().to_vec()),
        (TYPE_AAAA, CLASS_IN) if own.is_some() => None,
        (TYPE_A, CLASS_IN) if is_own => Some(vec![127, 0, 0, 1]),
        (TYPE_A, CLASS_IN) => Some(ADDRESS_V4.octets().to_vec()),
        (TYPE_AAAA, CLASS_IN) if has_v6 && is_own => {
            Some(std::net::Ipv6Addr::LOCALHOST.octets().to_vec())
        }
        (TYPE_AAAA, CLASS_IN) if has_v6 => Some(ADDRESS_V6.octets().to_vec()),
        _ => None,
    };
    let record = address.map(|address| record(question.kind, &address));
    Some(reply(header, NO_ERROR, question.text, record))
}

struct Question<'a> {
    /// As it came.
    text: &'a [u8],
    /// In lower case; none if it is not the name of a host.
    name: Option<String>,
    kind: u16,
    class: u16,
}

/// Reads the one question. Names in questions are not compressed.
fn question(bytes: &[u8]) -> Option<Question<'_>> {
    let mut labels = Vec::new();
    let mut at = 0;
    loop {
        let length = *bytes.get(at)?;
        at += 1;
        if length == 0 {
            break;
        }
        let label = bytes.get(at..at + usize::from(length))?;
        at += usize::from(length);
        if length > LONGEST_LABEL || at > LONGEST_NAME {
            return None;
        }
        labels.push(label);
    }
    let rest = bytes.get(at..at + 4)?;
    let name = String::from_utf8(labels.join(&b'.')).ok();
    let name = name.map(|name| name.to_ascii_lowercase());
    let is_host = |name: &String| Host::parse(name).is_ok_and(|host| host.as_ip().is_none());
    Some(Question {
        text: &bytes[..at + 4],
        name: name.filter(is_host),
        kind: u16::from_be_bytes([rest[0], rest[1]]),
        class: u16::from_be_bytes([rest[2], rest[3]]),
    })
}

/// A record for the name of the question, which a pointer stands for.
fn record(kind: u16, address: &[u8]) -> Vec<u8> {
    const POINTER: [u8; 2] = [0xC0, HEADER as u8];
    let length = u16::try_from(address.len()).unwrap_or_default();
    let mut record = POINTER.to_vec();
    record.extend_from_slice(&kind.to_be_bytes());
    record.extend_from_slice(&CLASS_IN.to_be_bytes());
    record.extend_from_slice(&LIFE.to_be_bytes());
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(address);
    record
}

fn reply(header: &[u8], code: u8, question: &[u8], record: Option<Vec<u8>>) -> Vec<u8> {
    let questions = u8::from(!question.is_empty());
    let answers = u8::from(record.is_some());
    let mut reply = vec![
        header[0],
        header[1],
        RESPONSE[0] | header[2] & REPEATED,
        RESPONSE[1] | code,
    ];
    reply.extend_from_slice(&[0, questions, 0, answers, 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    reply.extend(record.into_iter().flatten());
    reply
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend_from_slice(label.as_bytes());
        }
        query.push(0);
        query.extend_from_slice(&kind.to_be_bytes());
        query.extend_from_slice(&CLASS_IN.to_be_bytes());
        query
    }

    #[test]
    fn every_name_has_the_same_address() {
        for name in ["api.github.com", "API.example", "a.b"] {
            let asked = query(name, TYPE_A);
            let reply = answer(&asked, true, &[]).unwrap();
            assert_eq!(reply[..4], [0xAB, 0xCD, 0x81, 0x80]);
            assert_eq!(reply[4..8], [0, 1, 0, 1]);
            assert_eq!(reply[HEADER..asked.len()], asked[HEADER..]);
            assert_eq!(reply[reply.len() - 4..], ADDRESS_V4.octets());
            let reply = answer(&query(name, TYPE_AAAA), true, &[]).unwrap();
            assert_eq!(reply[reply.len() - 16..], ADDRESS_V6.octets());
        }
        let own = answer(&query("localhost", TYPE_A), true, &[]).unwrap();
        assert_eq!(own[own.len() - 4..], [127, 0, 0, 1]);
    }

    #[test]
    fn a_name_can_have_an_address_of_its_own() {
        let named = [("db.example".to_owned(), Ipv4Addr::new(198, 18, 1, 1))];
        let reply = answer(&query("DB.example", TYPE_A), true, &named).unwrap();
        assert_eq!(reply[reply.len() - 4..], [198, 18, 1, 1]);
        let reply = answer(&query("db.example", TYPE_AAAA), true, &named).unwrap();
        assert_eq!((reply[3] & 15, reply[7]), (NO_ERROR, 0));
        let other = answer(&query("x.db.example", TYPE_A), true, &named).unwrap();
        assert_eq!(other[other.len() - 4..], ADDRESS_V4.octets());
    }

    #[test]
    fn other_questions_have_no_answer() {
        let text = answer(&query("api.example", 16), true, &[]).unwrap();
        assert_eq!((text[3] & 15, text[7]), (NO_ERROR, 0));
        let without_v6 = answer(&query("api.example", TYPE_AAAA), false, &[]).unwrap();
        assert_eq!(without_v6[7], 0);
        let odd = answer(&query("_odd name.example", TYPE_A), true, &[]).unwrap();
        assert_eq!(odd[3] & 15, NO_SUCH_NAME);
        let address = answer(&query("127.0.0.1", TYPE_A), true, &[]).unwrap();
        assert_eq!(address[3] & 15, NO_SUCH_NAME);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_answers_are_short(
            bytes in prop::collection::vec(any::<u8>(), 0..600), has_v6: bool,
        ) {
            if let Some(answer) = answer(&bytes, has_v6, &[]) {
                prop_assert!(answer.len() <= LONGEST);
                prop_assert_eq!(&answer[..2], &bytes[..2]);
            }
        }
    }
}
