//! Named character references: what encoders write, not all that HTML knows.

/// The character that `&name;` stands for.
pub(super) fn named(name: &[u8]) -> Option<char> {
    if let Some((_, c)) = NAMES.iter().find(|(known, _)| known.as_bytes() == name) {
        return Some(*c);
    }
    let index = LATIN1.iter().position(|known| known.as_bytes() == name)?;
    u8::try_from(0xa0 + index).ok().map(char::from)
}

/// Names of ASCII characters (HTML, "Named character references").
#[rustfmt::skip]
const NAMES: [(&str, char); 43] = [
    ("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\''),
    ("AMP", '&'), ("LT", '<'), ("GT", '>'), ("QUOT", '"'), ("Tab", '\t'),
    ("NewLine", '\n'), ("excl", '!'), ("num", '#'), ("dollar", '$'), ("percnt", '%'),
    ("lpar", '('), ("rpar", ')'), ("ast", '*'), ("midast", '*'), ("plus", '+'),
    ("comma", ','), ("period", '.'), ("sol", '/'), ("colon", ':'), ("semi", ';'),
    ("equals", '='), ("quest", '?'), ("commat", '@'), ("lsqb", '['), ("lbrack", '['),
    ("bsol", '\\'), ("rsqb", ']'), ("rbrack", ']'), ("Hat", '^'), ("lowbar", '_'),
    ("UnderBar", '_'), ("grave", '`'), ("lcub", '{'), ("lbrace", '{'), ("verbar", '|'),
    ("vert", '|'), ("rcub", '}'), ("rbrace", '}'),
];

/// Names of U+00A0 to U+00FF in order: PHP's `htmlentities` writes them all.
#[rustfmt::skip]
const LATIN1: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect",
    "uml", "copy", "ordf", "laquo", "not", "shy", "reg", "macr",
    "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot",
    "cedil", "sup1", "ordm", "raquo", "frac14", "frac12", "frac34", "iquest",
    "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig", "Ccedil",
    "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml",
    "ETH", "Ntilde", "Ograve", "Oacute", "Ocirc", "Otilde", "Ouml", "times",
    "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN", "szlig",
    "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil",
    "egrave", "eacute", "ecirc", "euml", "igrave", "iacute", "icirc", "iuml",
    "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml", "divide",
    "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_their_characters() {
        let known = [
            ("amp", '&'),
            ("nbsp", '\u{a0}'),
            ("eacute", '\u{e9}'),
            ("yuml", '\u{ff}'),
        ];
        for (name, c) in known {
            assert_eq!(named(name.as_bytes()), Some(c));
        }
        assert_eq!(named(b"Amp"), None);
        assert_eq!(named(b""), None);
    }
}
