//! Text that others chose, as it is safe to show.

/// Whether a character moves a cursor, is invisible, or changes what stands around it: a name or a reason
/// with one could look like another.
pub fn deceives(character: char) -> bool {
    let formats = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    character.is_control() || formats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_or_turns_others_around_deceives() {
        for character in [
            '\x1b',
            '\n',
            '\u{7f}',
            '\u{202e}',
            '\u{200b}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            assert!(deceives(character), "{}", character.escape_unicode());
        }
        for character in [' ', 'a', '\u{e9}', '\u{5d0}', '\u{4e2d}', '\u{2026}'] {
            assert!(!deceives(character), "{character}");
        }
    }
}
