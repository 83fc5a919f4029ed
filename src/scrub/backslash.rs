//! Escapes of a backslash and one character, as JSON, C and shells write them.

/// What a backslash and one character stand for.
#[inline]
pub(super) fn meant_by(letter: u8) -> Option<u8> {
    // No such escape stands for zero.
    Some(MEANT[usize::from(letter)]).filter(|&byte| byte != 0)
}

const MEANT: [u8; 256] = {
    let mut meant = [0; 256];
    // A shell, a regular expression and many a template put a backslash before these.
    let mut byte = b' ';
    while byte <= b'~' {
        if byte == b' ' || byte.is_ascii_punctuation() {
            meant[byte as usize] = byte;
        }
        byte += 1;
    }
    meant[b'a' as usize] = 0x07;
    meant[b'b' as usize] = 0x08;
    meant[b't' as usize] = b'\t';
    meant[b'n' as usize] = b'\n';
    meant[b'v' as usize] = 0x0b;
    meant[b'f' as usize] = 0x0c;
    meant[b'r' as usize] = b'\r';
    meant
};
