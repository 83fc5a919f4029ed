//! `Accept-Encoding` (RFC 9110, 12.5.3): what is sent to the upstream, and what the client accepts.

use super::codings::{Coding, Codings, list_members, trim_blanks};

/// Digits of a weight that are read. The grammar has four.
const MAX_WEIGHT: usize = 8;

/// A client's `Accept-Encoding`, reduced to codings that can be decoded here, so that the upstream
/// does not answer in a coding in which an echoed value would not be found. Takes the values of all
/// field lines in their order. The order and the weights are kept, and `*` is replaced by the
/// codings that it covers and that can be decoded. None if there is no line at all, which permits
/// every coding. If the client names only codings that cannot be decoded, or none, the result is
/// `identity`.
pub fn narrow_accept_encoding<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let members = members(lines)?;
    let mut narrowed = Vec::new();
    let mut expanded = false;
    for RangeMember { range, weight } in &members {
        match range {
            CodingRange::Known { written, .. } => narrowed.push(with_weight(written, weight)),
            CodingRange::Other => {}
            CodingRange::Any if expanded => {}
            CodingRange::Any => {
                expanded = true;
                let refused = is_zero(weight);
                let meant = Coding::ALL.map(Some).into_iter().chain([None]);
                // A weight of zero matters only for identity: other codings are refused unless named.
                let meant = meant.filter(|coding| !refused || coding.is_none());
                narrowed.extend(
                    meant
                        .filter(|coding| named(&members, *coding).is_none())
                        .map(|coding| {
                            with_weight(coding.map_or("identity", Coding::as_str), weight)
                        }),
                );
            }
        }
    }
    if narrowed.is_empty() {
        narrowed.push("identity".to_owned());
    }
    Some(narrowed.join(", "))
}

/// Whether a client that sent these `Accept-Encoding` field lines accepts a body in these codings.
/// Without any line it accepts everything; it accepts identity unless it says otherwise, and a stack
/// if it accepts every coding of it.
pub fn acceptable<'a>(lines: impl IntoIterator<Item = &'a [u8]>, codings: &Codings) -> bool {
    let Some(members) = members(lines) else {
        return true;
    };
    let any = members
        .iter()
        .find(|member| member.range == CodingRange::Any);
    let takes = |coding: Option<Coding>| {
        let by_name = named(&members, coding);
        by_name
            .or(any)
            .map_or(coding.is_none(), |member| !is_zero(&member.weight))
    };
    match codings.as_slice() {
        [] => takes(None),
        applied => applied.iter().all(|coding| takes(Some(*coding))),
    }
}

/// One member of the list.
struct RangeMember {
    range: CodingRange,
    /// As written, checked to be digits; empty if there is none.
    weight: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CodingRange {
    /// A coding that can be opened, or identity (None), and how it is written.
    Known {
        coding: Option<Coding>,
        written: &'static str,
    },
    Any,
    Other,
}

/// None if there is no field line at all.
fn members<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<RangeMember>> {
    let mut lines = lines.into_iter().peekable();
    lines.peek()?;
    Some(
        lines
            .flat_map(list_members)
            .filter_map(RangeMember::parse)
            .collect(),
    )
}

/// The first member that names this coding; None is identity.
fn named(members: &[RangeMember], wanted: Option<Coding>) -> Option<&RangeMember> {
    members.iter().find(
        |member| matches!(member.range, CodingRange::Known { coding, .. } if coding == wanted),
    )
}

fn with_weight(name: &str, weight: &str) -> String {
    if weight.is_empty() {
        name.to_owned()
    } else {
        format!("{name};q={weight}")
    }
}

impl RangeMember {
    /// None for what does not follow the grammar. It is as if it were not there.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b';').map(trim_blanks);
        let range = CodingRange::parse(parts.next()?);
        let weight = parts.next().map_or(Some(""), parse_weight)?.to_owned();
        parts.next().is_none().then_some(Self { range, weight })
    }
}

impl CodingRange {
    fn parse(name: &[u8]) -> Self {
        let (coding, written) = if name == b"*" {
            return Self::Any;
        } else if name.eq_ignore_ascii_case(b"identity") {
            (None, "identity")
        } else if name.eq_ignore_ascii_case(b"x-gzip") {
            // A client that uses the old name may not know the new one.
            (Some(Coding::Gzip), "x-gzip")
        } else if let Some(coding) = Coding::from_name(name) {
            (Some(coding), coding.as_str())
        } else {
            return Self::Other;
        };
        Self::Known { coding, written }
    }
}

/// The number of `q=…`: a 0 or 1 and decimals.
fn parse_weight(text: &[u8]) -> Option<&str> {
    let [b'q' | b'Q', rest @ ..] = text else {
        return None;
    };
    let number = trim_blanks(trim_blanks(rest).strip_prefix(b"=")?);
    let decimals = match number {
        [b'0' | b'1'] => &[],
        [b'0' | b'1', b'.', decimals @ ..] => decimals,
        _ => return None,
    };
    let fine = number.len() <= MAX_WEIGHT && decimals.iter().all(u8::is_ascii_digit);
    str::from_utf8(number).ok().filter(|_| fine)
}

/// Whether it means "not acceptable". No weight is one.
fn is_zero(weight: &str) -> bool {
    !weight.is_empty() && weight.bytes().all(|byte| matches!(byte, b'0' | b'.'))
}

/// The codings of a list without weights (`grpc-accept-encoding`, `Connect-Accept-Encoding`) that
/// can be decoded here, `identity` if there are none. `None` if all can be: it may stay as it is.
pub fn narrow_message_encodings(lines: &[&[u8]]) -> Option<String> {
    let opens =
        |name: &&[u8]| name.eq_ignore_ascii_case(b"identity") || Coding::from_name(name).is_some();
    let names = || lines.iter().copied().flat_map(list_members);
    if names().all(|name| opens(&name)) {
        return None;
    }
    let kept: Vec<_> = names().filter(opens).map(String::from_utf8_lossy).collect();
    if kept.is_empty() {
        return Some("identity".to_owned());
    }
    Some(kept.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(lines: &[&str]) -> Option<String> {
        narrow_accept_encoding(lines.iter().map(|line| line.as_bytes()))
    }

    fn accepts(lines: &[&str], codings: &str) -> bool {
        let codings = Codings::parse([codings.as_bytes()]).expect("known codings");
        acceptable(lines.iter().map(|line| line.as_bytes()), &codings)
    }

    #[test]
    fn what_cannot_be_opened_is_dropped_and_the_rest_keeps_order_and_weights() {
        for (sent, narrowed) in [
            ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
            (
                "gzip, deflate, br, zstd, dcb, dcz",
                "gzip, deflate, br, zstd",
            ),
            (
                "dcz;q=1.0, BR ; q=0.5,compress, Gzip;Q=0.25",
                "br;q=0.5, gzip;q=0.25",
            ),
            ("x-gzip, x-compress", "x-gzip"),
            ("identity;q=1, gzip;q=0", "identity;q=1, gzip;q=0"),
            ("gzip,identity;q=0", "gzip, identity;q=0"),
        ] {
            assert_eq!(narrow(&[sent]).as_deref(), Some(narrowed), "{sent}");
        }
        assert_eq!(narrow(&["gzip, dcb", "br"]).as_deref(), Some("gzip, br"));
    }

    #[test]
    fn a_star_becomes_what_is_not_named() {
        for (sent, narrowed) in [
            ("*", "gzip, br, zstd, deflate, identity"),
            (
                "br;q=1.0, gzip;q=0.8, *;q=0.1",
                "br;q=1.0, gzip;q=0.8, zstd;q=0.1, deflate;q=0.1, identity;q=0.1",
            ),
            (
                "*;q=0.5, *, br;q=0, identity",
                "gzip;q=0.5, zstd;q=0.5, deflate;q=0.5, br;q=0, identity",
            ),
            ("gzip, *;q=0", "gzip, identity;q=0"),
            ("identity, *;q=0.0", "identity"),
        ] {
            assert_eq!(narrow(&[sent]).as_deref(), Some(narrowed), "{sent}");
        }
    }

    #[test]
    fn nothing_left_is_identity_and_no_header_stays_none() {
        // Not an absent header, which would permit every coding.
        for sent in [
            "",
            "dcb, dcz",
            "gzip;q=high",
            "gzip;level=9",
            "gzip;q=1;q=0",
            ",,;",
            "gzip;q=0.0000000000001",
        ] {
            assert_eq!(narrow(&[sent]).as_deref(), Some("identity"), "{sent:?}");
        }
        assert_eq!(narrow(&[]), None);
    }

    #[test]
    fn a_narrowed_field_stays_the_same_when_narrowed_again() {
        for sent in [
            "*",
            "gzip, *;q=0",
            "dcb",
            "br;q=0.3, *;q=0.2",
            "identity;q=0",
        ] {
            let once = narrow(&[sent]).expect("there is a line");
            assert_eq!(narrow(&[&once]), Some(once.clone()), "{sent}");
        }
    }

    #[test]
    fn a_coding_is_acceptable_as_the_rfc_says() {
        for (lines, codings, expected) in [
            (&[][..], "gzip", true),
            (&[], "identity", true),
            (&[""], "identity", true),
            (&[""], "gzip", false),
            (&["gzip"], "gzip", true),
            (&["x-gzip"], "gzip", true),
            (&["gzip"], "identity", true),
            (&["gzip"], "br", false),
            (&["gzip;q=0"], "gzip", false),
            (&["gzip;q=0.000, *"], "gzip", false),
            (&["gzip;q=0.001"], "gzip", true),
            (&["*"], "zstd", true),
            (&["*;q=0"], "identity", false),
            (&["*;q=0", "identity;q=0.5"], "identity", true),
            (&["gzip, identity;q=0"], "identity", false),
            (&["gzip, identity;q=0"], "gzip", true),
            (&["gzip, br"], "gzip, br", true),
            (&["gzip"], "gzip, br", false),
            (&["gzip, br, identity;q=0"], "gzip, br", true),
        ] {
            assert_eq!(accepts(lines, codings), expected, "{lines:?} {codings}");
        }
    }
}
