//! Tells at which JSON pointer a byte of a JSON text is.
//!
//! This is a recogniser, not a parser: it takes pieces of any size, keeps the open containers and
//! their current keys, and builds no values. Placeholders are found without it (the scanner need
//! not parse); it only tells *where* in the document they are.

use memchr::memchr2;

use super::edit::MAX_LOCATION_NAME;

/// The deepest nesting that is followed. Most parsers stop here too.
const MAX_DEPTH: usize = 128;

/// What is kept of a key as it was written: each character may take six bytes.
const MAX_RAW_KEY: usize = 6 * MAX_LOCATION_NAME;

/// Begins a text of a sequence (RFC 7464 section 2.2).
const RECORD_SEPARATOR: u8 = 0x1e;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads JSON from left to right (RFC 8259).
#[derive(Debug)]
pub(super) struct JsonTracker {
    open: Vec<Container>,
    state: JsonState,
    /// The key being read, as it was written.
    key: Vec<u8>,
    /// Whether further texts may follow the first.
    several: bool,
    /// Whether one has.
    later: bool,
}

#[derive(Debug)]
enum Container {
    /// The index of the current element.
    Array(usize),
    /// The current key as a pointer token (RFC 6901 section 3). `None` if it is too long or no text.
    Object(Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonState {
    /// The rest of an optional byte order mark.
    Mark(&'static [u8]),
    Value,
    /// After `[`.
    ValueOrEnd,
    /// After `{`.
    KeyOrEnd,
    Key,
    Colon,
    /// After a value: a comma, the end of the container, or nothing more.
    After,
    Text {
        is_key: bool,
        escape: StringEscape,
    },
    Literal(&'static [u8]),
    Number(Number),
    /// Not JSON, or too deep. This is final.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StringEscape {
    None,
    /// After a backslash.
    Begun,
    /// How many hexadecimal digits are missing.
    Digits(u8),
}

/// What was read of a number (RFC 8259 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl JsonTracker {
    /// At the start of a text.
    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            state: JsonState::Mark(BYTE_ORDER_MARK),
            key: Vec::new(),
            several: false,
            later: false,
        }
    }

    /// At the start of several JSON texts, as messages contain them: separated by line feeds, by the
    /// record separator of RFC 7464 (SignalR writes it at the end), or by nothing (Socket.IO writes a
    /// number first). Every text but the first is an object or an array.
    pub(super) fn of_several() -> Self {
        Self {
            several: true,
            ..Self::new()
        }
    }

    /// Reads on.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            match self.state {
                JsonState::Broken => return,
                JsonState::Text {
                    is_key,
                    escape: StringEscape::None,
                } => {
                    let plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    if plain > 0 {
                        self.text(is_key, &rest[..plain]);
                        rest = &rest[plain..];
                        continue;
                    }
                }
                _ => {}
            }
            self.state = self.step(byte);
            rest = tail;
        }
    }

    /// Whether what was read is exactly one JSON text.
    pub(super) fn is_complete(&self) -> bool {
        let ended = match self.state {
            JsonState::After => true,
            JsonState::Number(number) => number.may_end(),
            _ => false,
        };
        ended && self.open.is_empty()
    }

    /// Whether what was read can no longer become JSON.
    pub(super) fn is_broken(&self) -> bool {
        self.state == JsonState::Broken
    }

    /// Whether the next byte belongs to a string, or ends one.
    pub(super) fn is_in_string(&self) -> bool {
        matches!(self.state, JsonState::Text { .. })
    }

    /// Takes a placeholder that is no part of a string for some value. Whether there may be one here.
    pub(super) fn pass_value(&mut self) -> bool {
        let is_value = matches!(self.state, JsonState::Value | JsonState::ValueOrEnd);
        if is_value {
            self.state = JsonState::Number(Number::Integer);
        }
        is_value
    }

    /// Whether a text after the first has begun.
    pub(super) fn is_later(&self) -> bool {
        self.later
    }

    /// The pointer of the string value to which the next byte belongs. `None` outside of string
    /// values, for a text that is nothing but a string or is not the first, and if the pointer
    /// exceeds [`MAX_LOCATION_NAME`] bytes.
    pub(super) fn pointer(&self) -> Option<String> {
        if self.later || !matches!(self.state, JsonState::Text { is_key: false, .. }) {
            return None;
        }
        let mut pointer = String::new();
        for container in &self.open {
            pointer.push('/');
            match container {
                Container::Array(index) => pointer.push_str(&index.to_string()),
                Container::Object(key) => pointer.push_str(key.as_deref()?),
            }
            if pointer.len() > MAX_LOCATION_NAME {
                return None;
            }
        }
        (!pointer.is_empty()).then_some(pointer)
    }

    /// Takes characters of a string that are neither a quotation mark nor a backslash.
    fn text(&mut self, is_key: bool, plain: &[u8]) {
        if plain.iter().any(|&byte| byte < 0x20) {
            self.state = JsonState::Broken;
        } else if is_key {
            self.keep_key(plain);
        }
    }

    fn keep_key(&mut self, spelled: &[u8]) {
        let room = MAX_RAW_KEY + 1 - self.key.len();
        self.key
            .extend_from_slice(&spelled[..spelled.len().min(room)]);
    }

    fn step(&mut self, byte: u8) -> JsonState {
        match self.state {
            JsonState::Mark([expected, rest @ ..]) if byte == *expected => JsonState::Mark(rest),
            JsonState::Mark(rest) if rest.is_empty() || rest == BYTE_ORDER_MARK => {
                self.value(byte, false)
            }
            JsonState::Text { is_key, escape } => self.in_text(is_key, escape, byte),
            JsonState::Literal([expected, rest @ ..]) if byte == *expected => {
                if rest.is_empty() {
                    JsonState::After
                } else {
                    JsonState::Literal(rest)
                }
            }
            JsonState::Number(number) => match number.step(byte) {
                Some(number) => JsonState::Number(number),
                None if number.may_end() => self.after(byte),
                None => JsonState::Broken,
            },
            state if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') && state.allows_blank() => state,
            JsonState::Value => self.value(byte, false),
            JsonState::ValueOrEnd => self.value(byte, true),
            JsonState::KeyOrEnd if byte == b'}' => self.close(),
            JsonState::KeyOrEnd | JsonState::Key if byte == b'"' => {
                self.key.clear();
                JsonState::Text {
                    is_key: true,
                    escape: StringEscape::None,
                }
            }
            JsonState::Colon if byte == b':' => JsonState::Value,
            JsonState::After => self.after(byte),
            _ => JsonState::Broken,
        }
    }

    fn value(&mut self, byte: u8, may_end: bool) -> JsonState {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => JsonState::Value,
            RECORD_SEPARATOR if self.several && self.open.is_empty() => JsonState::Value,
            b'{' => self.open(Container::Object(None), JsonState::KeyOrEnd),
            b'[' => self.open(Container::Array(0), JsonState::ValueOrEnd),
            b']' if may_end => self.close(),
            b'"' => JsonState::Text {
                is_key: false,
                escape: StringEscape::None,
            },
            b't' => JsonState::Literal(b"rue"),
            b'f' => JsonState::Literal(b"alse"),
            b'n' => JsonState::Literal(b"ull"),
            b'-' => JsonState::Number(Number::Minus),
            b'0' => JsonState::Number(Number::Zero),
            b'1'..=b'9' => JsonState::Number(Number::Integer),
            _ => JsonState::Broken,
        }
    }

    fn open(&mut self, container: Container, state: JsonState) -> JsonState {
        if self.open.len() == MAX_DEPTH {
            return JsonState::Broken;
        }
        self.open.push(container);
        state
    }

    fn close(&mut self) -> JsonState {
        self.open.pop();
        JsonState::After
    }

    fn after(&mut self, byte: u8) -> JsonState {
        match (byte, self.open.last_mut()) {
            (b' ' | b'\t' | b'\n' | b'\r', _) => JsonState::After,
            (b',', Some(Container::Array(index))) => {
                *index += 1;
                JsonState::Value
            }
            (b',', Some(Container::Object(_))) => JsonState::Key,
            (b']', Some(Container::Array(_))) | (b'}', Some(Container::Object(_))) => self.close(),
            (RECORD_SEPARATOR, None) if self.several => JsonState::After,
            (b'{' | b'[', None) if self.several => {
                self.later = true;
                self.value(byte, false)
            }
            _ => JsonState::Broken,
        }
    }

    fn in_text(&mut self, is_key: bool, escape: StringEscape, byte: u8) -> JsonState {
        if is_key && !(escape == StringEscape::None && byte == b'"') {
            self.keep_key(&[byte]);
        }
        let escape = match (escape, byte) {
            (StringEscape::None, b'"') if is_key => {
                let token = pointer_token(&self.key);
                if let Some(Container::Object(key)) = self.open.last_mut() {
                    *key = token;
                }
                return JsonState::Colon;
            }
            (StringEscape::None, b'"') => return JsonState::After,
            (StringEscape::None, b'\\') => StringEscape::Begun,
            (StringEscape::None, _) => StringEscape::None,
            (StringEscape::Begun, b'u') => StringEscape::Digits(4),
            (StringEscape::Begun, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                StringEscape::None
            }
            (StringEscape::Digits(1), byte) if byte.is_ascii_hexdigit() => StringEscape::None,
            (StringEscape::Digits(missing), byte) if byte.is_ascii_hexdigit() => {
                StringEscape::Digits(missing - 1)
            }
            _ => return JsonState::Broken,
        };
        JsonState::Text { is_key, escape }
    }
}

impl JsonState {
    fn allows_blank(self) -> bool {
        matches!(
            self,
            JsonState::Value
                | JsonState::ValueOrEnd
                | JsonState::KeyOrEnd
                | JsonState::Key
                | JsonState::Colon
                | JsonState::After
        )
    }
}

impl Number {
    fn step(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::Sign),
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::Exponent
        )
    }
}

/// Decodes a key and writes it as a pointer token.
fn pointer_token(spelled: &[u8]) -> Option<String> {
    if spelled.len() > MAX_RAW_KEY {
        return None;
    }
    let quoted = [b"\"", spelled, b"\""].concat();
    let key: String = serde_json::from_slice(&quoted).ok()?;
    let token = key.replace('~', "~0").replace('/', "~1");
    (token.len() <= MAX_LOCATION_NAME).then_some(token)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> JsonTracker {
        let mut document = JsonTracker::new();
        document.advance(text);
        document
    }

    #[test]
    fn the_pointer_names_the_string_value_reached() {
        for (text, pointer) in [
            (r#"{"auth":{"token":""#, Some("/auth/token")),
            (r#" [ 1, true, {"a":[], "b":["x", "y"#, Some("/2/b/1")),
            ("{\"a/b\":{\"~\":{\"\\u0065\\n\":\"", Some("/a~1b/~0/e\n")),
            ("\u{feff}{\"k\":\"", Some("/k")),
            (r#"{"":""#, Some("/")),
            (r#"{"k"#, None),
            (r#"{"k":"v""#, None),
            (r#"{"k":"#, None),
            (r#"""#, None),
            (r#"{"k":1}{"k":""#, None),
        ] {
            assert_eq!(
                read(text.as_bytes()).pointer().as_deref(),
                pointer,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_too_deep_or_too_long_has_no_pointer() {
        assert!(
            read(format!("{}\"", "[".repeat(128)).as_bytes())
                .pointer()
                .is_some()
        );
        assert_eq!(
            read(format!("{}\"", "[".repeat(129)).as_bytes()).pointer(),
            None
        );
        let key = "k".repeat(MAX_LOCATION_NAME);
        assert_eq!(read(format!("{{\"{key}\":\"").as_bytes()).pointer(), None);
        let mut endless = read(b"{\"");
        for _ in 0..10 {
            endless.advance(&[b'k'; 1000]);
        }
        assert!(endless.key.len() <= MAX_RAW_KEY + 1);
        endless.advance(b"\":{\"a\":\"x\"}, \"b\":\"");
        assert_eq!(endless.pointer().as_deref(), Some("/b"));
    }

    #[test]
    fn a_message_is_json_texts_one_after_the_other() {
        let read = |text: &str| {
            let mut document = JsonTracker::of_several();
            document.advance(text.as_bytes());
            document
        };
        for json in [
            "{\"a\":1}",
            "{\"a\":1}\u{1e}",
            "\u{1e}{\"a\":1}\n\u{1e}[2]\n",
            "{}\n{}\n",
            "[1][2]",
            "42[\"event\",{\"k\":\"v\"}]",
            "\"text\"",
        ] {
            assert!(read(json).is_complete(), "{json:?}");
        }
        for text in [
            "", "a", "1 2", "{}\"a\"", "{},{}", "42/ns,[]", "{\u{1e}}", "[1",
        ] {
            assert!(!read(text).is_complete(), "{text:?}");
        }
        assert_eq!(read("{\"a\":\"").pointer().as_deref(), Some("/a"));
        assert_eq!(read("{}{\"a\":\"").pointer(), None);
    }

    /// Texts near JSON: fragments of it in random order.
    fn near_json() -> impl Strategy<Value = String> {
        let fragment = prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"k\"", "\"k\":", "\\", "\\u00", "12", "-", "0",
            "1.5", "e+3", "true", "null", "fals", " ", "\n", "\u{1}", "x", "<<gh>>",
        ]);
        prop::collection::vec(fragment, 0..8).prop_map(|fragments| fragments.concat())
    }

    pub(crate) fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i32>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn complete_means_what_a_parser_means(text in near_json()) {
            let parsed = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(read(text.as_bytes()).is_complete(), parsed, "{}", text);
        }

        #[test]
        fn valid_texts_are_complete_in_pieces(value in json_value(), pretty: bool, cut in 0usize..200) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let (head, tail) = text.as_bytes().split_at(cut.min(text.len()));
            let mut document = read(head);
            document.advance(tail);
            prop_assert!(document.is_complete(), "{}", text);
        }

        /// Wherever reading stops, the pointer leads to the string that it stopped in.
        #[test]
        fn the_pointer_leads_to_its_string(value in json_value(), at in any::<prop::sample::Index>()) {
            let text = serde_json::to_string(&value).unwrap();
            let at = at.index(text.len());
            if let Some(pointer) = read(&text.as_bytes()[..at]).pointer() {
                let found = value.pointer(&pointer).and_then(serde_json::Value::as_str);
                prop_assert!(found.is_some(), "{} in {}", pointer, text);
                let spelled = serde_json::to_string(found.unwrap()).unwrap();
                let stands_in_it = (1..=at.min(spelled.len()))
                    .any(|back| text.as_bytes()[at - back..].starts_with(spelled.as_bytes()));
                prop_assert!(stands_in_it, "{} in {}", pointer, text);
            }
        }
    }
}
