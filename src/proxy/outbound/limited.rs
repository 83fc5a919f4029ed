//! The body of an answer whose length is in its head, though the library reads on to the end of the
//! connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::proxy::exchange::body::BodyError;

/// The first bytes of a body. The rest belongs to nothing, and goes with the connection.
pub struct Limited<B> {
    body: B,
    left: u64,
}

impl<B> Limited<B> {
    /// The first `length` bytes.
    pub fn new(body: B, length: u64) -> Self {
        Self { body, left: length }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Limited<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let data = frame.and_then(Result::ok).map(Frame::into_data);
        // Without a coding that could end it there is no other frame than one of data.
        let Some(Ok(mut data)) = data else {
            return Poll::Ready(Some(Err(BodyError::Broken)));
        };
        data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= data.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn a_body_ends_at_its_length_and_not_before() {
        for length in 0..=4_u64 {
            let body = Limited::new(Full::new(Bytes::from_static(b"abcd")), length);
            assert_eq!(body.size_hint().exact(), Some(length));
            let read = body.collect().await.expect("all of it").to_bytes();
            assert_eq!(read, b"abcd"[..length as usize]);
        }
        let mut long = Limited::new(Full::new(Bytes::from_static(b"abcd")), 5);
        assert!(long.frame().await.is_some_and(|frame| frame.is_ok()));
        assert!(long.frame().await.is_some_and(|frame| frame.is_err()));
    }
}
