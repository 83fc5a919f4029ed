//! The head of a frame, and masking (RFC 6455 sections 5.2 and 5.3).

/// Which end of the connection the peer is: a client masks its frames and a server does not (RFC
/// 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The peer is a client.
    Client,
    /// The peer is a server.
    Server,
}

/// What a data message holds (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Anything.
    Binary,
}

/// The most that the payload of a control frame can hold, in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL: usize = 125;

/// The longest head of a frame, in bytes.
pub(super) const MAX_HEAD: usize = 14;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    /// `None` for those that are reserved.
    fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// The length of the payload.
    pub(super) len: u64,
    pub(super) mask: Option<[u8; 4]>,
}

impl FrameHead {
    /// Reads the head at the front of `bytes`, and how long it is; `None` if there are too few. An
    /// error says in words for the peer what is wrong.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, &'static str> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err("a reserved bit is set and no extension was negotiated");
        }
        let opcode = Opcode::parse(first & 0x0f).ok_or("the opcode is reserved")?;
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        let key_at = extended;
        let end = key_at + if masked { 4 } else { 0 };
        if rest.len() < end {
            return Ok(None);
        }
        let len = match extended {
            0 => u64::from(second & 0x7f),
            _ => rest[..extended]
                .iter()
                .fold(0, |len, byte| len << 8 | u64::from(*byte)),
        };
        let shortest = match len {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        if shortest != extended || len > i64::MAX as u64 {
            return Err("the payload length is not written in the shortest form");
        }
        let mut key = [0; 4];
        if masked {
            key.copy_from_slice(&rest[key_at..end]);
        }
        let head = Self {
            fin: first & 0x80 != 0,
            opcode,
            len,
            mask: masked.then_some(key),
        };
        Ok(Some((head, 2 + end)))
    }

    /// Appends the head to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(if self.fin { 0x80 } else { 0 } | self.opcode.bits());
        match self.len {
            len @ 0..=125 => out.push(masked | len as u8),
            len @ 126..=0xffff => {
                out.push(masked | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                out.push(masked | 127);
                out.extend_from_slice(&len.to_be_bytes());
            }
        }
        out.extend_from_slice(&self.mask.unwrap_or_default()[..if masked == 0 { 0 } else { 4 }]);
    }
}

/// Masks or unmasks `bytes`, which are at `offset` of their payload.
pub(super) fn mask(bytes: &mut [u8], key: [u8; 4], offset: u64) {
    let mut turned = key;
    turned.rotate_left((offset % 4) as usize);
    let [a, b, c, d] = turned;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks
        .into_remainder()
        .iter_mut()
        .zip(turned.iter().cycle())
    {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_have_one_spelling() {
        for (bytes, len) in [
            (&[0x82, 125][..], Ok(125)),
            (&[0x82, 126, 0, 126], Ok(126)),
            (&[0x82, 126, 0xff, 0xff], Ok(0xffff)),
            (&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], Ok(0x1_0000)),
            (&[0x82, 126, 0, 125], Err(())),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Err(())),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Err(())),
        ] {
            let read = FrameHead::parse(bytes);
            let read = read.map(|head| head.expect("whole").0.len).map_err(|_| ());
            assert_eq!(read, len, "{bytes:?}");
        }
    }

    #[test]
    fn reserved_bits_and_opcodes_are_refused() {
        for first in [0xc2u8, 0xa2, 0x92, 0x83, 0x87, 0x8b, 0x8f] {
            assert!(FrameHead::parse(&[first, 0]).is_err(), "{first:x}");
        }
    }

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(
            fin: bool,
            opcode in prop::sample::select(vec![0u8, 1, 2, 8, 9, 10]),
            len in prop_oneof![0u64..300, 65_000u64..66_000, any::<u64>().prop_map(|n| n >> 1)],
            mask: Option<[u8; 4]>,
        ) {
            let head = FrameHead { fin, opcode: Opcode::parse(opcode).unwrap(), len, mask };
            let mut bytes = Vec::new();
            head.write(&mut bytes);
            prop_assert!(bytes.len() <= MAX_HEAD);
            for end in 0..bytes.len() {
                prop_assert_eq!(FrameHead::parse(&bytes[..end]), Ok(None));
            }
            prop_assert_eq!(FrameHead::parse(&bytes), Ok(Some((head, bytes.len()))));
        }

        #[test]
        fn masking_in_pieces_is_masking_the_whole(bytes: Vec<u8>, key: [u8; 4], cut in any::<prop::sample::Index>()) {
            let expected: Vec<u8> = bytes.iter().enumerate().map(|(n, byte)| byte ^ key[n % 4]).collect();
            let cut = cut.index(bytes.len() + 1);
            let mut masked = bytes.clone();
            let (head, tail) = masked.split_at_mut(cut);
            mask(head, key, 0);
            mask(tail, key, cut as u64);
            prop_assert_eq!(masked, expected);
        }
    }
}
