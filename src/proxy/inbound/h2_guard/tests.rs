use std::collections::VecDeque;

use http::Request;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::proxy::exchange::leave::Leave;

/// Gives out a piece at each read.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(out.remaining()));
            out.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What comes through the guard of bytes that arrive in pieces of this size.
fn through(bytes: &[u8], size: usize) -> Vec<u8> {
    let pieces = bytes.chunks(size).map(<[u8]>::to_vec).collect();
    let mut guard = H2Guard::new(Pieces(pieces), 256 * 1024, Arc::default());
    let mut read = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let reading = guard.read_to_end(&mut read);
    runtime
        .expect("a runtime")
        .block_on(reading)
        .expect("bytes");
    assert!(guard.held.is_empty());
    read
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let head = FrameHead {
        length: 0,
        kind,
        flags,
        stream: [0, 0, 0, 1],
    };
    let mut out = Vec::new();
    head.write(payload, &mut out);
    out
}

fn fields(target: &[u8]) -> Vec<u8> {
    let mut block = b"\x82\x87\x44".to_vec();
    hpack::write(target, &mut block);
    block.extend_from_slice(b"\x40\x01x\x01y");
    block
}

/// A section in frames of this size.
fn section(target: &[u8], size: usize) -> Vec<u8> {
    let fields = fields(target);
    let pieces: Vec<&[u8]> = fields.chunks(size).collect();
    let flags = |at: usize| {
        if at + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        }
    };
    let frames = pieces.iter().enumerate().map(|(at, piece)| {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        frame(kind, flags(at), piece)
    });
    frames.collect::<Vec<_>>().concat()
}

fn connection(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![b'p'; PREFACE];
    for section in sections {
        bytes.extend(frame(0, 0, &[7; 100]));
        bytes.extend_from_slice(section);
        bytes.extend(frame(4, 0, b""));
    }
    bytes
}

proptest! {
    /// However the stream is cut, what needs no mark passes as it is and what needs one gets it.
    #[test]
    fn only_what_is_refused_is_changed(
        targets in prop::collection::vec("/[a-z#\"?`é]{0,30}", 0..5),
        frames in 1..60_usize,
        size in 1..300_usize,
    ) {
        let came = targets.iter().map(|target| section(target.as_bytes(), frames));
        let expected = targets.iter().map(|target| match marked(target.as_bytes()) {
            None => section(target.as_bytes(), frames),
            Some(marked) => section(&marked, LONGEST_FRAME),
        });
        let came = connection(&came.collect::<Vec<_>>());
        let expected = connection(&expected.collect::<Vec<_>>());
        prop_assert_eq!(through(&came, size), expected);
    }

    /// What is no HTTP/2 passes as well, and nothing is lost.
    #[test]
    fn any_bytes_come_through(
        bytes in prop::collection::vec(0..12_u8, 0..400),
        size in 1..100_usize,
    ) {
        let bytes = [vec![0; PREFACE], bytes].concat();
        let read = through(&bytes, size);
        prop_assert!(read == bytes || read.len() >= PREFACE);
    }

    /// Marked or not, the library takes the target, and a marked one is refused.
    #[test]
    fn what_is_marked_is_taken_by_the_library_and_refused(
        rest in prop::collection::vec(any::<u8>(), 1..60),
    ) {
        let target = [b"/", &rest[..]].concat();
        let marked = marked(&target);
        let read = marked.clone().unwrap_or(target);
        let uri = http::uri::PathAndQuery::try_from(&read[..]).map(Uri::from);
        match (marked, uri) {
            (Some(_), Ok(uri)) => prop_assert!(check(&uri).is_err()),
            (Some(marked), Err(error)) => prop_assert!(false, "{:?}: {}", marked, error),
            (None, Ok(uri)) => prop_assert!(check(&uri).is_ok()),
            // Characters that the library refuses itself.
            (None, Err(_)) => {}
        }
    }
}

#[test]
fn a_mark_takes_the_place_of_one_byte() {
    for (target, expected) in [
        (&b"/a#b"[..], Some(&b"/a\"b"[..])),
        (b"/a?b#c", Some(b"/a?b`c")),
        (b"/a\xff", Some(b"/a\"")),
        (b"/a`", Some(b"/a\"")),
        (b"/a?b\"", Some(b"/a?b`")),
        (b"#a", Some(b"/\"")),
        ("/é".as_bytes(), None),
        (b"/a?b=c", None),
        (b"*", None),
    ] {
        assert_eq!(marked(target).as_deref(), expected, "{target:?}");
    }
}

#[test]
fn a_target_that_is_too_long_is_cut_and_refused_as_that() {
    for target in ["/".repeat(70_000), format!("/?{}", "a".repeat(70_000))] {
        let marked = marked(target.as_bytes()).expect("a mark");
        assert_eq!(marked.len(), LONGEST_TARGET);
        let uri: Uri = String::from_utf8(marked)
            .expect("text")
            .parse()
            .expect("a URI");
        assert_eq!(check(&uri).unwrap_err().code, Code::TargetTooLong);
        let came = connection(&[section(target.as_bytes(), LONGEST_FRAME)]);
        assert!(through(&came, 5000).len() < came.len());
    }
}

/// What is written, while a request that waits for a 100 is given leave after so many bytes of it.
fn written(frames: &[u8], before: usize, size: usize) -> Vec<u8> {
    let mut block = fields(b"/");
    block.extend_from_slice(b"\x40\x06expect\x0c100-continue");
    let came = connection(&[frame(HEADERS, END_HEADERS, &block)]);
    block.extend_from_slice(b"\x00\x0cegret-stream\x011");
    let numbered = connection(&[frame(HEADERS, END_HEADERS, &block)]);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let leaves = Arc::new(Leaves::default());
        let mut guard = H2Guard::new(near, 1024, Arc::clone(&leaves));
        let (first, rest) = frames.split_at(before);
        for piece in first.chunks(size) {
            guard.write_all(piece).await.expect("written");
        }
        far.write_all(&came).await.expect("written");
        let mut read = vec![0; numbered.len()];
        guard.read_exact(&mut read).await.expect("read");
        assert_eq!(read, numbered);
        let mut request = Request::builder()
            .header(STREAM, "1")
            .body(())
            .expect("one");
        Leave::attach(&mut request, &leaves);
        let leave = request.extensions_mut().remove::<Leave>();
        leave.expect("leave to give").give();
        for piece in rest.chunks(size) {
            guard.write_all(piece).await.expect("written");
        }
        guard.flush().await.expect("flushed");
        drop(guard);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.expect("read");
        all
    })
}

#[test]
fn an_interim_answer_is_written_between_two_frames() {
    let settings = frame(4, 0, b"settings");
    let answer = frame(1, 0, b"answer");
    let all = [&settings[..], &answer].concat();
    let interim = frame(HEADERS, END_HEADERS, CONTINUE);
    for before in 0..=all.len() {
        for size in [1, 5, 100] {
            // The first write that begins between two frames, or the flush at the end.
            let writes = (before..all.len()).step_by(size);
            let mut places = writes.filter(|place| *place == settings.len());
            let place = places.next().unwrap_or(all.len());
            let expected = [&all[..place], &interim, &all[place..]].concat();
            assert_eq!(written(&all, before, size), expected, "{before} {size}");
        }
    }
}

#[test]
fn padding_goes_and_a_priority_stays() {
    let mut payload = vec![3, 0, 0, 0, 0, 7];
    payload.extend(fields(b"/#"));
    payload.extend([0; 3]);
    let came = connection(&[frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &payload)]);
    let kept = [&[0, 0, 0, 0, 7][..], &fields(b"/\"")].concat();
    let expected = connection(&[frame(HEADERS, END_HEADERS | PRIORITY, &kept)]);
    assert_eq!(through(&came, 10), expected);
}
