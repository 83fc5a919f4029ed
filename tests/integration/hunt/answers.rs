//! The answers of a hostile upstream that echoes a value.

use std::sync::Arc;

use super::canary::Chance;
use crate::coded::{CODINGS, chunked, close};
use crate::http2::frames;
use crate::upstream::Step;
use crate::wire::Headers;

/// Where the answer holds the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Reason,
    Header(&'static str),
    HeaderName,
    Informational,
    Body(&'static str),
    Events,
    Trailer,
    ChunkExtension,
    /// The answer is no HTTP, and the library's error could quote it.
    Malformed(usize),
    /// The answer breaks off inside the body.
    CutOff,
    /// A coding that is not what it says, or none that exists.
    Misused(usize),
}

const PLACES: &[Place] = &[
    Place::Reason,
    Place::Header("X-Echo"),
    Place::Header("Location"),
    Place::Header("Set-Cookie"),
    Place::Header("Link"),
    Place::Header("WWW-Authenticate"),
    Place::Header("ETag"),
    Place::Header("Content-Disposition"),
    Place::Header("Content-Type"),
    Place::Header("Content-Location"),
    Place::Header("Proxy-Status"),
    Place::Header("Egret-Request"),
    Place::HeaderName,
    Place::Informational,
    Place::Body("text/plain"),
    Place::Body("application/json"),
    Place::Body("text/html"),
    Place::Body("application/octet-stream"),
    Place::Body("multipart/byteranges; boundary=B"),
    Place::Events,
    Place::Trailer,
    Place::ChunkExtension,
    Place::Malformed(0),
    Place::Malformed(1),
    Place::Malformed(2),
    Place::Malformed(3),
    Place::Malformed(4),
    Place::Malformed(5),
    Place::CutOff,
    Place::Misused(0),
    Place::Misused(1),
    Place::Misused(2),
    Place::Misused(3),
];

const STATUSES: &[&str] = &[
    "200", "201", "206", "301", "401", "404", "500", "204", "304",
];

/// One answer.
pub struct Echo {
    pub place: Place,
    pub coding: String,
    /// Over HTTP/1.1.
    pub steps: Vec<Step>,
    /// Over HTTP/2, for the stream of that number.
    pub frames: Frames,
    /// Whether the value is on the wire in this very form, so that a search has to find it there.
    pub is_plain: bool,
}

/// Makes frames for a stream.
pub type Frames = Arc<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

/// What both protocols say in their own way.
struct Shape {
    place: Place,
    form: Vec<u8>,
    interim: Vec<&'static str>,
    status: &'static str,
    reason: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    is_bodiless: bool,
}

/// An answer that holds `form` somewhere.
pub fn echo(chance: &mut Chance, form: &[u8]) -> Echo {
    let mut place = *chance.pick(PLACES);
    let is_name = form.len() < 200 && form.iter().all(u8::is_ascii_alphanumeric);
    if place == Place::HeaderName && !is_name {
        place = Place::Header("X-Echo");
    }
    if matches!(place, Place::ChunkExtension) && !form.iter().all(u8::is_ascii_graphic) {
        place = Place::Trailer;
    }
    let coding = coding(chance, place);
    let text = around(chance, place, form);
    let shape = match place {
        Place::Misused(which) => misused(which, &text, form),
        _ => shape(chance, place, &coding, &text, form),
    };
    let steps = match place {
        Place::Malformed(which) => malformed(which, form),
        _ => framed(chance, &shape),
    };
    let size = 1 + chance.below(frames::MAX_PAYLOAD);
    let frames = Arc::new(move |stream| shape.frames(stream, size));
    Echo {
        is_plain: coding == "identity" && !matches!(place, Place::Misused(_)),
        place,
        coding,
        steps,
        frames,
    }
}

fn coding(chance: &mut Chance, place: Place) -> String {
    let is_body = matches!(place, Place::Body(_) | Place::Events | Place::CutOff);
    match (is_body, chance.below(4)) {
        (false, _) | (true, 0) => "identity".to_owned(),
        (true, 1) => format!("{}, {}", chance.pick(&CODINGS), chance.pick(&CODINGS)),
        (true, _) => (*chance.pick(&CODINGS)).to_owned(),
    }
}

fn around(chance: &mut Chance, place: Place, form: &[u8]) -> Vec<u8> {
    let (before, after): (&str, &str) = match place {
        Place::Events => ("event: m\ndata: ", "\n\ndata: next\n\n"),
        Place::Body("application/json") => ("{\"a\":[1,\"", "\"],\"z\":null}"),
        Place::Body("text/html") => ("<p title='", "'>text</p>"),
        _ => ("before ", " after"),
    };
    // Filling puts the value across the borders of the buffers on the way.
    let filling = match chance.below(6) {
        0 => chance.below(70_000),
        1 => 16_384 - chance.below(64),
        _ => chance.below(40),
    };
    let filling = "fill ".repeat(filling / 5);
    [
        before.as_bytes(),
        filling.as_bytes(),
        b" ",
        form,
        b" ",
        after.as_bytes(),
    ]
    .concat()
}

fn shape(chance: &mut Chance, place: Place, coding: &str, text: &[u8], form: &[u8]) -> Shape {
    let status = match place {
        Place::Header(_) | Place::Reason | Place::HeaderName => *chance.pick(STATUSES),
        Place::Body(_) => *chance.pick(&STATUSES[..7]),
        _ => "200",
    };
    let mut headers = Vec::new();
    let mut line = |name: &[u8], value: &[u8]| headers.push((name.to_vec(), value.to_vec()));
    match place {
        Place::Header(name) => line(name.as_bytes(), &[b"x=", form, b"; y"].concat()),
        Place::HeaderName => line(form, b"1"),
        Place::Body(media_type) => line(b"Content-Type", media_type.as_bytes()),
        Place::Events => line(b"Content-Type", b"text/event-stream"),
        _ => {}
    }
    if status == "206" {
        line(b"Content-Range", b"bytes 0-9/10");
    }
    let mut body = match place {
        Place::Body(_) | Place::Events | Place::CutOff => text.to_vec(),
        _ => b"an innocent body".to_vec(),
    };
    if coding != "identity" {
        line(b"Content-Encoding", coding.as_bytes());
        for coding in coding.split(", ") {
            body = close(coding, &body);
        }
    }
    Shape {
        place,
        form: form.to_vec(),
        interim: match place {
            Place::Informational => vec!["103 Early Hints", "102 Processing", "103 Early Hints"],
            _ => Vec::new(),
        },
        status,
        reason: match place {
            Place::Reason => form.to_vec(),
            _ => b"Fine".to_vec(),
        },
        headers,
        body,
        is_bodiless: matches!(status, "204" | "304"),
    }
}

impl Shape {
    /// The head of an HTTP/1.1 answer without the lines that frame it.
    fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        for status in &self.interim {
            let link = [b"Link: </", &self.form[..], b">; rel=preload"].concat();
            let status = format!("HTTP/1.1 {status}\r\n").into_bytes();
            head.extend([&status[..], &link, b"\r\n\r\n"].concat());
        }
        head.extend(format!("HTTP/1.1 {} ", self.status).into_bytes());
        head.extend_from_slice(&self.reason);
        head.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            head.extend([name, &b": "[..], value, b"\r\n"].concat());
        }
        head
    }

    /// The same over HTTP/2. What has no place there (a reason, a chunk's extension) becomes a
    /// field that the protocol forbids.
    fn frames(&self, stream: u32, size: usize) -> Vec<u8> {
        let field = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        let status = |status: &str| vec![field(":status", &status.as_bytes()[..3])];
        let mut bytes = Vec::new();
        for interim in &self.interim {
            let link = field("link", &[b"</", &self.form[..], b">"].concat());
            let headers = [status(interim), vec![link]].concat();
            bytes.extend(frames::section(stream, false, &headers));
        }
        let mut headers: Headers = status(self.status);
        for (name, value) in &self.headers {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            headers.push((name, value.clone()));
        }
        match self.place {
            Place::Reason => headers.push(field(":reason", &self.form)),
            Place::ChunkExtension => headers.push(field("transfer-encoding", &self.form)),
            Place::Malformed(0) => headers.push(field("X-Upper", &self.form)),
            Place::Malformed(1) => headers.push(field("content-length", &self.form)),
            Place::Malformed(2) => headers.push(field("a b", &self.form)),
            Place::Malformed(3) => headers[0] = field(":status", &self.form),
            Place::Malformed(4) => {
                // Unknown frames are ignored (RFC 9113 section 4.1): an end must follow.
                let unknown = frames::frame(0x7f, 0, stream, &self.form);
                return [unknown, frames::reset(stream, frames::CANCEL)].concat();
            }
            _ => {}
        }
        if self.is_bodiless {
            bytes.extend(frames::section(stream, true, &headers));
            return bytes;
        }
        bytes.extend(frames::section(stream, false, &headers));
        let has_trailers = self.place == Place::Trailer;
        let ends = !has_trailers && self.place != Place::CutOff;
        bytes.extend(frames::data(stream, ends, &self.body, size));
        if has_trailers {
            let trailers = vec![field("x-sum", &self.form)];
            bytes.extend(frames::section(stream, true, &trailers));
        }
        if self.place == Place::CutOff {
            bytes.extend(frames::reset(stream, frames::CANCEL));
        }
        bytes
    }
}

/// Frames the body and cuts the bytes where the network could.
fn framed(chance: &mut Chance, shape: &Shape) -> Vec<Step> {
    let Shape {
        place, form, body, ..
    } = shape;
    let mut wire = shape.head();
    let size = match chance.below(4) {
        0 if body.len() < 2_000 => 1,
        1 => 1 + chance.below(30),
        _ => 1 + chance.below(body.len().max(1)),
    };
    let in_chunks = matches!(
        place,
        Place::Trailer | Place::ChunkExtension | Place::CutOff
    );
    let mut ends = false;
    if shape.is_bodiless {
        wire.extend_from_slice(b"\r\n");
    } else if in_chunks || chance.once_in(2) {
        wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        if *place == Place::Trailer {
            wire.extend_from_slice(b"Trailer: X-Sum\r\n");
        }
        wire.extend_from_slice(b"\r\n");
        if *place == Place::ChunkExtension {
            wire.extend_from_slice(&[b"1;x=", &form[..], b"\r\n.\r\n"].concat());
        }
        wire.extend(chunked(body, size));
        match place {
            Place::Trailer => {
                wire.truncate(wire.len() - 2);
                wire.extend_from_slice(&[b"X-Sum: ", &form[..], b"\r\n\r\n"].concat());
            }
            Place::CutOff => {
                wire.truncate(wire.len() - 5 - chance.below(size.min(40)));
                ends = true;
            }
            _ => {}
        }
    } else if chance.once_in(4) {
        wire.extend_from_slice(b"Connection: close\r\n\r\n");
        wire.extend(body);
        ends = true;
    } else {
        wire.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
        wire.extend(body);
    }
    let mut steps = cut(chance, wire);
    if ends {
        steps.push(Step::Close);
    }
    steps
}

/// Each piece is written and flushed by itself.
fn cut(chance: &mut Chance, wire: Vec<u8>) -> Vec<Step> {
    let pieces = match chance.below(3) {
        0 => 1 + chance.below(12),
        _ => 1,
    };
    let size = wire.len().div_ceil(pieces).max(1);
    let pieces = wire.chunks(size).map(|piece| Step::Send(piece.to_vec()));
    pieces.collect()
}

fn malformed(which: usize, form: &[u8]) -> Vec<Step> {
    let ok = b"HTTP/1.1 200 OK\r\n".as_slice();
    let wire = match which {
        0 => [b"HTTP/1.1 200 ", form, b"\0\r\n\r\n"].concat(),
        1 => [ok, b"X Echo: ", form, b"\r\n\r\n"].concat(),
        2 => [ok, b"Content-Length: ", form, b"\r\n\r\n"].concat(),
        3 => [ok, b"Transfer-Encoding: ", form, b"\r\n\r\nx"].concat(),
        4 => [ok, b"Transfer-Encoding: chunked\r\n\r\n", form, b"\r\n"].concat(),
        _ => [form, b"\r\n\r\n"].concat(),
    };
    vec![Step::Send(wire), Step::Close]
}

/// Bodies that are not what their `Content-Encoding` says.
fn misused(which: usize, text: &[u8], form: &[u8]) -> Shape {
    let (coding, body) = match which {
        // Not coded at all.
        0 => ("gzip", text.to_vec()),
        // Cut off, so that the check at the end is missing.
        1 => {
            let mut body = close("gzip", text);
            body.truncate(body.len() - 9);
            ("gzip", body)
        }
        // Unknown, with the value in the clear.
        2 => ("dcb", text.to_vec()),
        // Of another coding than it says.
        _ => ("br", close("zstd", text)),
    };
    Shape {
        place: Place::Misused(which),
        form: form.to_vec(),
        interim: Vec::new(),
        status: "200",
        reason: b"OK".to_vec(),
        headers: vec![
            (b"Content-Type".to_vec(), b"text/plain".to_vec()),
            (b"Content-Encoding".to_vec(), coding.into()),
        ],
        body,
        is_bodiless: false,
    }
}
