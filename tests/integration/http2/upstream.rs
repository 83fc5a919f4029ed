//! The HTTP/2 side of the stub upstream.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::{Notify, mpsc};

use super::frames::{self, INITIAL_WINDOW_SIZE, WIDE};
use super::peer::{Message, Peer};
use crate::upstream::Connection;
use crate::wire::{Framing, Headers, Request, Response, Wire};

/// What the upstream does with a stream.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Sends these frames' bytes.
    Bytes(Vec<u8>),
    /// Answers; trailers may follow.
    Answer(Response, Headers),
    /// Waits until the test gives a signal.
    Hold(Arc<Notify>),
    /// Resets the stream.
    Reset(u32),
    /// Sends GOAWAY with this last stream and code.
    Goaway(u32, u32),
    /// Ends the connection.
    Close,
}

/// Serves HTTP/2 until the peer closes. `answer` is called with each request in a task of its own.
pub async fn converse<S, F, A>(io: S, record: Arc<Mutex<Connection>>, streams: u32, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(u32, Request) -> A,
    A: Future<Output = Vec<Reply>> + Send + 'static,
{
    let (mut reader, writer) = tokio::io::split(io);
    let mut peer = Peer::new(writer);
    let mut preface = [0; frames::PREFACE.len()];
    if reader.read_exact(&mut preface).await.is_err() {
        return;
    }
    assert_eq!(preface, frames::PREFACE);
    let settings = frames::settings(&[
        (frames::MAX_CONCURRENT_STREAMS, streams),
        (INITIAL_WINDOW_SIZE, WIDE),
    ]);
    let wide = frames::window_update(0, WIDE - 65_535);
    if peer.send([settings, wide].concat()).await.is_err() {
        return;
    }
    let (replies, mut inbox) = mpsc::unbounded_channel();
    // A task of its own, because reading a frame must not be cancelled.
    let (arrived, mut frames) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        while let Ok(frame) = frames::read(&mut reader).await {
            let _ = arrived.send(frame);
        }
    });
    let _reading = tokio_util::task::AbortOnDropHandle::new(reading);
    loop {
        tokio::select! {
            biased;
            reply = inbox.recv() => {
                let Some((id, reply)) = reply else { return };
                if !matches!(perform(&mut peer, id, reply).await, Ok(true)) {
                    return;
                }
            }
            frame = frames.recv() => {
                let Some(frame) = frame else { break };
                let Ok(touched) = peer.take(frame).await else { break };
                let Some(id) = touched else { continue };
                let message = &peer.streams[&id];
                if !message.ended {
                    continue;
                }
                let message = peer.streams.remove(&id).unwrap_or_default();
                let request = request(&message);
                note(&record, &request, &message.trailers, &peer.blocks);
                let (answer, replies) = (answer(id, request), replies.clone());
                tokio::spawn(async move {
                    for reply in answer.await {
                        match reply {
                            Reply::Hold(gate) => gate.notified().await,
                            reply => drop(replies.send((id, reply))),
                        }
                    }
                });
            }
        }
    }
    let mut record = record.lock().unwrap();
    let cut = peer
        .streams
        .values()
        .find(|m| m.reset.is_some() || !m.ended);
    if let Some(cut) = cut {
        record.broken = Some(format!(
            "reset {:?} after {} bytes",
            cut.reset,
            cut.body.len()
        ));
        let partial = request(cut);
        record.bytes.extend(text(&partial, &cut.trailers));
    }
}

async fn perform<S: AsyncWrite + Unpin>(
    peer: &mut Peer<S>,
    id: u32,
    reply: Reply,
) -> io::Result<bool> {
    match reply {
        Reply::Bytes(bytes) => peer.send(bytes).await?,
        Reply::Reset(code) => peer.send(frames::reset(id, code)).await?,
        Reply::Goaway(last, code) => peer.send(frames::goaway(last, code)).await?,
        Reply::Answer(response, trailers) => peer.send(frames_of(id, &response, &trailers)).await?,
        Reply::Hold(_) => {}
        Reply::Close => return Ok(false),
    }
    Ok(true)
}

/// An answer's frames.
pub fn frames_of(id: u32, response: &Response, trailers: &Headers) -> Vec<u8> {
    let mut headers = vec![(
        ":status".to_owned(),
        response.status.to_string().into_bytes(),
    )];
    for (name, value) in &response.headers {
        let name = name.to_ascii_lowercase();
        if !matches!(
            name.as_str(),
            "connection" | "transfer-encoding" | "keep-alive"
        ) {
            headers.push((name, value.clone()));
        }
    }
    let mut bytes = frames::section(id, false, &headers);
    let is_last = trailers.is_empty();
    bytes.extend(frames::data(
        id,
        is_last,
        &response.body,
        frames::MAX_PAYLOAD,
    ));
    if !is_last {
        bytes.extend(frames::section(id, true, trailers));
    }
    bytes
}

/// Parses an answer that was written as HTTP/1.1.
pub async fn parsed(bytes: &[u8]) -> Response {
    let mut wire = Wire::new(bytes);
    wire.response(false).await.expect("an answer")
}

fn request(message: &Message) -> Request {
    let fields = message
        .headers
        .iter()
        .map(|(name, value)| match name.as_str() {
            ":authority" => ("host".to_owned(), value.clone()),
            _ => (name.clone(), value.clone()),
        });
    Request {
        method: message.field(":method").unwrap_or_default(),
        target: message.field(":path").unwrap_or_default(),
        version: "HTTP/2".to_owned(),
        headers: fields
            .filter(|(name, _)| !name.starts_with(':'))
            .chain(message.trailers.iter().cloned())
            .collect(),
        framing: Framing::None,
        body: message.body.clone(),
        connection: 0,
    }
}

fn note(record: &Mutex<Connection>, request: &Request, trailers: &Headers, blocks: &[usize]) {
    let mut record = record.lock().unwrap();
    record.bytes.extend(text(request, trailers));
    record.parsed = record.bytes.len();
    record.blocks = blocks.to_vec();
}

/// The request as text, so that it can be searched like one over HTTP/1.1.
fn text(request: &Request, trailers: &Headers) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/2\r\n", request.method, request.target).into_bytes();
    for (name, value) in request.headers.iter().chain(trailers) {
        text.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    text.extend([b"\r\n", &request.body[..], b"\r\n"].concat());
    text
}
