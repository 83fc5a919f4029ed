//! As much of HPACK (RFC 7541) as it takes to find a few fields in a block, and to read them.

use std::collections::VecDeque;
use std::ops::Range;

/// The fields that are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Path,
    Expect,
    Other,
}

/// `:path` and `expect` in the static table (RFC 7541 appendix A), and where the other table begins.
const PATHS: [usize; 2] = [4, 5];
const EXPECT: usize = 35;
const DYNAMIC: usize = 62;
/// Most entries of the table of a connection: it has 4,096 bytes, because nothing else was agreed, and
/// an entry has 32 and its text (RFC 7541 section 4.1).
const MOST_ENTRIES: usize = 4_096 / 32;

/// A string in a block of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Where it stands, its length included.
    pub span: Range<usize>,
    /// Its bytes as they were sent.
    bytes: Range<usize>,
    is_coded: bool,
}

/// What was found in a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The value of the first `:path` that is spelled out. A request that names an earlier one by its
    /// number has none.
    pub target: Option<Text>,
    /// Whether the client waits for a 100 (Continue).
    pub expects_continue: bool,
}

/// Reads the blocks of a connection, each once and in their order.
#[derive(Default)]
pub struct Reader {
    /// The names in the table of the connection, the latest first, and whether that is a field with
    /// `100-continue`. What was evicted is not taken out: nobody can name it.
    table: VecDeque<(Name, bool)>,
}

impl Reader {
    /// What there is in a block. None if it is malformed: then no more can be read on this connection.
    pub fn read(&mut self, block: &[u8]) -> Option<Found> {
        let mut found = Found::default();
        let mut at = 0;
        while let Some(&first) = block.get(at) {
            // RFC 7541 section 6: how a field begins, and how many bits its number has.
            match first {
                0x80.. => {
                    let number = integer(block, &mut at, 7)?;
                    found.expects_continue |= self.entry(number).1;
                }
                0x40.. => {
                    let entry = self.literal(block, &mut at, 6, &mut found)?;
                    self.table.push_front(entry);
                    self.table.truncate(MOST_ENTRIES);
                }
                0x20.. => {
                    integer(block, &mut at, 5)?;
                }
                _ => {
                    self.literal(block, &mut at, 4, &mut found)?;
                }
            }
        }
        Some(found)
    }

    fn entry(&self, number: usize) -> (Name, bool) {
        let dynamic = number.checked_sub(DYNAMIC);
        dynamic.map_or_else(
            || (static_name(number), false),
            |number| *self.table.get(number).unwrap_or(&(Name::Other, false)),
        )
    }

    /// A field whose value is spelled out, and perhaps its name.
    fn literal(
        &self,
        block: &[u8],
        at: &mut usize,
        bits: u32,
        found: &mut Found,
    ) -> Option<(Name, bool)> {
        let name = match integer(block, at, bits)? {
            0 => spelled_name(&text(block, at)?.read(block)?),
            number => self.entry(number).0,
        };
        let value = text(block, at)?;
        let mut is_continue = false;
        match name {
            Name::Path if found.target.is_none() => found.target = Some(value),
            Name::Expect => {
                is_continue = value.read(block)?.eq_ignore_ascii_case(b"100-continue");
                found.expects_continue |= is_continue;
            }
            _ => {}
        }
        Some((name, is_continue))
    }
}

fn static_name(number: usize) -> Name {
    match number {
        EXPECT => Name::Expect,
        number if PATHS.contains(&number) => Name::Path,
        _ => Name::Other,
    }
}

fn spelled_name(name: &[u8]) -> Name {
    match name {
        b":path" => Name::Path,
        b"expect" => Name::Expect,
        _ => Name::Other,
    }
}

/// RFC 7541 section 5.1.
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1 << bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = usize::from(*block.get(*at)?);
        *at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// RFC 7541 section 5.2.
fn text(block: &[u8], at: &mut usize) -> Option<Text> {
    let begin = *at;
    let is_coded = block.get(begin)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let bytes = *at..at.checked_add(length)?;
    block.get(bytes.clone())?;
    *at = bytes.end;
    Some(Text {
        span: begin..bytes.end,
        bytes,
        is_coded,
    })
}

impl Text {
    /// What it says. None if the code is not followed.
    pub fn read(&self, block: &[u8]) -> Option<Vec<u8>> {
        let bytes = block.get(self.bytes.clone())?;
        if self.is_coded {
            return decode(bytes);
        }
        Some(bytes.to_vec())
    }
}

/// A string as it stands in a block, without the Huffman code.
pub fn write(text: &[u8], out: &mut Vec<u8>) {
    let mut left = text.len();
    if left < 0x7f {
        out.push(left as u8);
    } else {
        out.push(0x7f);
        left -= 0x7f;
        while left >= 0x80 {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }
    out.extend_from_slice(text);
}

/// The bits in the code of each byte (RFC 7541 appendix B). The code is canonical: codes of one length
/// follow each other in the order of the bytes, so that the lengths say it all.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The longest code of a byte.
const LONGEST: usize = 30;
/// Codes of up to so many bits are looked up at once: nearly all that are in use in a target.
const SHORT: usize = 8;

/// The Huffman code, for reading.
struct Code {
    /// The first code of each length, how many there are, and where their bytes begin in `bytes`.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    begin: [usize; LONGEST + 1],
    bytes: [u8; 256],
    /// By the next bits: the byte and the length of its code. Zero for a longer code.
    short: [(u8, u8); 1 << SHORT],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut new = Self {
            first: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            begin: [0; LONGEST + 1],
            bytes: [0; 256],
            short: [(0, 0); 1 << SHORT],
        };
        let (mut code, mut known, mut length) = (0_u32, 0, 1);
        while length <= LONGEST {
            new.first[length] = code;
            new.begin[length] = known;
            let mut byte = 0;
            while byte < 256 {
                if LENGTHS[byte] as usize == length {
                    new.bytes[known] = byte as u8;
                    if length <= SHORT {
                        new.fill_short(code, length, byte as u8);
                    }
                    known += 1;
                    code += 1;
                }
                byte += 1;
            }
            new.count[length] = code - new.first[length];
            code <<= 1;
            length += 1;
        }
        new
    }

    const fn fill_short(&mut self, code: u32, length: usize, byte: u8) {
        let free = SHORT - length;
        let mut rest = 0;
        while rest < 1 << free {
            self.short[((code as usize) << free) + rest] = (byte, length as u8);
            rest += 1;
        }
    }

    /// The byte that `bits` begin with, and the length of its code.
    fn read(&self, bits: u64) -> Option<(u8, usize)> {
        let (byte, length) = self.short[(bits >> (64 - SHORT)) as usize];
        if length > 0 {
            return Some((byte, usize::from(length)));
        }
        (SHORT + 1..=LONGEST).find_map(|length| {
            let code = (bits >> (64 - length)) as u32;
            let nth = code.wrapping_sub(self.first[length]);
            let byte = self.bytes.get(self.begin[length] + nth as usize);
            byte.filter(|_| nth < self.count[length])
                .map(|byte| (*byte, length))
        })
    }
}

fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(coded.len() * 8 / 5);
    // The next bits, the first of them on top, and how many there are.
    let (mut bits, mut have) = (0_u64, 0);
    let mut coded = coded.iter();
    loop {
        while have <= 56
            && let Some(byte) = coded.next()
        {
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        // What is left over is the beginning of the longest code, which is all ones.
        if have < 8 && bits == !0 << (64 - have).min(63) || have == 0 {
            return Some(text);
        }
        let (byte, length) = CODE.read(bits)?;
        if length > have {
            return None;
        }
        text.push(byte);
        bits <<= length;
        have -= length;
    }
}

#[cfg(test)]
mod tests {
    use fluke_hpack::Encoder;
    use proptest::prelude::*;

    use super::*;

    fn read(block: &[u8]) -> Option<Vec<u8>> {
        Reader::default().read(block)?.target?.read(block)
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // Appendix C.4.1 and C.3.1: coded and plain, in place of `:authority`'s value.
        let coded = b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(decode(coded).as_deref(), Some(&b"www.example.com"[..]));
        assert_eq!(decode(b"").as_deref(), Some(&b""[..]));
        assert_eq!(decode(b"\xff\xff\xff\xff"), None, "the end of the code");
        assert_eq!(read(b"\x82\x86\x44\x02/a"), Some(b"/a".to_vec()));
        assert_eq!(read(b"\x82\x86\x84"), None, "by its number");
        assert_eq!(read(b"\x00\x05:path\x02/b"), Some(b"/b".to_vec()));
        for broken in [&b"\x44"[..], b"\x44\x7f\xff\xff\xff\xff\xff", b"\x44\x05/a"] {
            assert_eq!(read(broken), None, "{broken:?}");
        }
    }

    proptest! {
        /// However a client writes it, the target is what a decoder reads.
        #[test]
        fn a_target_is_read_as_it_was_written(
            path in prop::collection::vec(any::<u8>(), 0..300),
            plain in any::<bool>(),
        ) {
            let mut block = b"\x82\x87\x44".to_vec();
            if plain {
                write(&path, &mut block);
            } else {
                let coded = huffman(&path);
                let begin = block.len();
                write(&coded, &mut block);
                block[begin] |= 0x80;
            }
            block.extend_from_slice(b"\x40\x01x\x01y");
            prop_assert_eq!(read(&block), Some(path.clone()));
            let mut decoder = fluke_hpack::Decoder::new();
            let fields = decoder.decode(&block).expect("a block");
            prop_assert_eq!(&fields[2].1, &path);
        }

        #[test]
        fn any_bytes_are_survived(block in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&block);
        }
    }

    #[test]
    fn names_are_known_by_their_number_in_the_table_of_the_connection() {
        let mut reader = Reader::default();
        let mut look = |block: &[u8]| {
            let found = reader.read(block).expect("a block");
            let target = found.target.and_then(|target| target.read(block));
            (target, found.expects_continue)
        };
        let path = |text: &[u8]| Some(text.to_vec());
        let expects = b"\x44\x02/a\x40\x06expect\x0c100-continue";
        assert_eq!(look(expects), (path(b"/a"), true));
        // Both by their number: `expect` came last, and then another.
        assert_eq!(look(b"\xbe\xbf"), (None, true));
        assert_eq!(look(b"\x40\x01x\x01y"), (None, false));
        assert_eq!(look(b"\xbe"), (None, false));
        assert_eq!(look(b"\xbf"), (None, true));
        // The name of the path by its number.
        assert_eq!(look(b"\x0f\x31\x02/b"), (path(b"/b"), false));
        assert_eq!(look(b"\x0f\x14\x0c100-Continue"), (None, true));
        assert_eq!(look(b"\x0f\x14\x01x"), (None, false));
    }

    #[test]
    fn what_an_encoder_writes_is_read() {
        let mut encoder = Encoder::new();
        let fields = [
            (&b":method"[..], &b"GET"[..]),
            (b":path", b"/some/where?x=1"),
        ];
        let block = encoder.encode(fields);
        assert_eq!(read(&block), Some(b"/some/where?x=1".to_vec()));
    }

    /// The code of a text, padded with ones.
    fn huffman(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let begin = CODE.begin[length];
            let nth = CODE.bytes[begin..]
                .iter()
                .position(|b| b == byte)
                .expect("a code");
            let code = CODE.first[length] + nth as u32;
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().div_ceil(8) * 8, true);
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }
}
