//! JSON inside of text: in how many JSON strings a place is.
//!
//! A program writes JSON into a string of JSON, a form field, a query parameter or an element of XML. A
//! value that is put there has to be escaped once for each JSON string around it, or it ends that
//! string. This follows the text from left to right, as [`JsonTracker`] does for one document.

use memchr::{memchr2, memchr3};

use super::encoding::{Doubt, Nesting};
use super::json::JsonTracker;

/// The most strings inside of each other that are followed. No value is written deeper than
/// `encode` allows.
const MAX_LEVEL: u8 = 4;

/// Text that may hold JSON documents.
#[derive(Debug)]
pub(super) struct JsonText {
    level: u8,
    /// Every quotation mark begins a string, also outside of an object or array: the text is said to be
    /// JSON.
    is_json: bool,
    /// A quotation mark at the very start begins a string.
    is_message: bool,
    is_begun: bool,
    /// After an odd number of quotation marks outside of documents, in a string: what is between two of
    /// them may be a string of another language (GraphQL, a shell), or a quotation.
    is_quoted: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// In no document.
    Prose,
    /// In a string that was not said to be one.
    Quotation,
    Document {
        tracker: JsonTracker,
        string: Option<Box<JsonString>>,
    },
}

/// A string of a document, of which a part was read.
#[derive(Debug)]
struct JsonString {
    escape: Escape,
    content: JsonText,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// After a backslash.
    Begun,
    /// After `\u` and so many digits.
    Digits(u8, u32),
}

impl JsonText {
    /// Text that is not said to be JSON.
    pub(super) fn new() -> Self {
        Self::at(0, false, false)
    }

    /// JSON.
    pub(super) fn of_json() -> Self {
        Self::at(0, true, false)
    }

    /// A WebSocket message, which may be one JSON string.
    pub(super) fn of_message() -> Self {
        Self::at(0, false, true)
    }

    fn at(level: u8, is_json: bool, is_message: bool) -> Self {
        Self {
            level,
            is_json,
            is_message,
            is_begun: false,
            is_quoted: false,
            state: State::Prose,
        }
    }

    /// Begins again: what follows has nothing to do with what came before.
    pub(super) fn restart(&mut self) {
        self.is_begun = false;
        self.is_quoted = false;
        self.state = State::Prose;
    }

    /// Where the next byte is.
    pub(super) fn nesting(&self) -> Nesting {
        let string = match &self.state {
            State::Prose if !self.is_quoted => return Nesting::default(),
            State::Document { string: None, .. } => return Nesting::default(),
            State::Prose | State::Quotation => {
                return Nesting {
                    depth: 0,
                    doubt: Some(Doubt::Quotation),
                };
            }
            State::Document {
                string: Some(string),
                ..
            } => string,
        };
        let inner = string.content.nesting();
        // The writer of the encoding itself knows what to do in the middle of `\u00`.
        let is_native = self.is_json && self.level == 0;
        let is_escaped = match string.escape {
            Escape::None => false,
            Escape::Begun => true,
            Escape::Digits(..) => !is_native,
        };
        Nesting {
            depth: inner.depth + u8::from(!is_native),
            doubt: is_escaped.then_some(Doubt::Escaped).or(inner.doubt),
        }
    }

    /// Reads on.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let read = match &mut self.state {
                State::Prose => self.prose(rest),
                State::Quotation => rest.len(),
                State::Document { .. } => self.document(rest),
            };
            rest = &rest[read..];
        }
    }

    /// Passes over a placeholder: it stands for text in a string, and for a value elsewhere.
    pub(super) fn pass_placeholder(&mut self) {
        self.is_begun = true;
        let State::Document { tracker, string } = &mut self.state else {
            return;
        };
        let goes_on = match string {
            Some(string) if string.escape == Escape::None => {
                tracker.advance(b"x");
                string.content.pass_placeholder();
                true
            }
            Some(_) => false,
            None => tracker.pass_value(),
        };
        if !goes_on {
            self.state = State::Prose;
        }
    }

    /// Reads on to where a document begins.
    fn prose(&mut self, bytes: &[u8]) -> usize {
        if !std::mem::replace(&mut self.is_begun, true) && bytes[0] == b'"' && !self.is_json {
            if self.is_message {
                self.begin(b'"');
            } else if self.level > 0 {
                self.state = State::Quotation;
            }
            return 1;
        }
        let found = if self.is_json || self.level > 0 {
            memchr3(b'{', b'[', b'"', bytes)
        } else {
            memchr2(b'{', b'[', bytes)
        };
        match found {
            Some(at) if bytes[at] == b'"' && !self.is_json => {
                self.is_quoted = !self.is_quoted;
                at + 1
            }
            Some(at) => {
                self.begin(bytes[at]);
                at + 1
            }
            None => bytes.len(),
        }
    }

    fn begin(&mut self, first: u8) {
        let mut tracker = JsonTracker::new();
        tracker.advance(&[first]);
        let string = tracker.is_in_string().then(|| self.string());
        self.state = State::Document { tracker, string };
    }

    fn string(&self) -> Box<JsonString> {
        Box::new(JsonString {
            escape: Escape::None,
            content: Self::at(self.level + 1, false, false),
        })
    }

    /// Reads on in a document. Zero bytes are read only where it turns out to be none.
    fn document(&mut self, bytes: &[u8]) -> usize {
        let State::Document { tracker, string } = &mut self.state else {
            return 0;
        };
        let read = match string {
            Some(string) => {
                let read = string.advance(bytes, self.level);
                tracker.advance(&bytes[..read]);
                read
            }
            None => {
                tracker.advance(&bytes[..1]);
                1
            }
        };
        if tracker.is_broken() {
            self.state = State::Prose;
            // What broke one document may begin another.
            return if read == 1 && matches!(bytes[0], b'{' | b'[') {
                0
            } else {
                read
            };
        }
        let (is_in_string, has_string) = (tracker.is_in_string(), string.is_some());
        if !is_in_string && tracker.is_complete() {
            self.state = State::Prose;
        } else if is_in_string != has_string {
            let begun = is_in_string.then(|| self.string());
            if let State::Document { string, .. } = &mut self.state {
                *string = begun;
            }
        }
        read
    }
}

impl JsonString {
    /// Reads on, up to the closing quotation mark and no further than one escape.
    fn advance(&mut self, bytes: &[u8], level: u8) -> usize {
        let byte = bytes[0];
        let follows = level < MAX_LEVEL;
        match self.escape {
            Escape::None => {
                let plain = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
                // A control character ends the document, and what follows may begin another.
                let control = bytes[..plain].iter().position(|&byte| byte < 0x20);
                let plain = control.unwrap_or(plain);
                if plain > 0 {
                    if follows {
                        self.content.advance(&bytes[..plain]);
                    }
                    return plain;
                }
                if byte == b'\\' {
                    self.escape = Escape::Begun;
                }
            }
            Escape::Begun if byte == b'u' => self.escape = Escape::Digits(0, 0),
            Escape::Begun => {
                self.escape = Escape::None;
                let meant = match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'f' => 12,
                    other => other,
                };
                if follows {
                    self.content.advance(&[meant]);
                }
            }
            Escape::Digits(count, value) => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let value = value << 4 | digit;
                self.escape = match count {
                    3 => Escape::None,
                    _ => Escape::Digits(count + 1, value),
                };
                if count == 3 && follows {
                    // Characters beyond ASCII only matter as being some.
                    let meant = u8::try_from(value).ok().filter(u8::is_ascii);
                    self.content.advance(&[meant.unwrap_or(b'x')]);
                }
            }
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(mut text: JsonText, read: &str) -> Nesting {
        // In pieces of one byte and as a whole, which has to be the same.
        for byte in read.as_bytes() {
            text.advance(&[*byte]);
        }
        let bytewise = text.nesting();
        text.restart();
        text.advance(read.as_bytes());
        assert_eq!(text.nesting(), bytewise, "{read}");
        bytewise
    }

    fn depth(read: &str) -> u8 {
        let nesting = after(JsonText::new(), read);
        assert_eq!(nesting.doubt, None, "{read}");
        nesting.depth
    }

    #[test]
    fn each_string_around_a_place_counts() {
        for (read, expected) in [
            ("", 0),
            ("say \"", 0),
            ("{\"a\":", 0),
            ("{\"a\":\"", 1),
            ("{\"", 1),
            ("42[\"msg\",{\"t\":\"", 1),
            ("data: {\"t\":\"", 1),
            ("array[0] = \"", 0),
            ("{x \"", 0),
            ("{x: [\"", 1),
            ("{\"a\":1} \"", 0),
            ("{\"a\":\"\n", 0),
            ("{\"a\":\"{\\\"t\\\":\\\"", 2),
            ("{\"a\":\"{\\u0022t\\u0022:\\u0022", 2),
            ("{\"a\":\"x{\\\"t\\\":\\\"y\\\"} ", 1),
            ("{\"a\":\"[\\\"{\\\\\\\"t\\\\\\\":\\\\\\\"", 3),
            ("{\"a\":\"{\\\"t\\\":\\\"\",\"b\":\"", 1),
            ("{\"a\":\"say \\\"yes\\\" ", 1),
            ("{\"q\":\"m { l(a: [\\\"", 2),
        ] {
            assert_eq!(depth(read), expected, "{read}");
        }
    }

    #[test]
    fn in_json_its_own_string_is_not_counted() {
        for (read, expected) in [
            ("{\"a\":\"", 0),
            ("\"", 0),
            ("\"{\\\"t\\\":\\\"", 1),
            ("{\"a\":1,}{\"b\":\"{\\\"t\\\":\\\"", 1),
            ("// comment\n{\"b\":\"[\\\"", 1),
        ] {
            let nesting = after(JsonText::of_json(), read);
            assert_eq!(nesting.depth, expected, "{read}");
            assert_eq!(nesting.doubt, None, "{read}");
        }
    }

    #[test]
    fn a_backslash_and_a_quotation_are_noticed() {
        for (text, read) in [
            (JsonText::of_json(), "{\"a\":\"x\\"),
            (JsonText::new(), "{\"a\":\"\\u00"),
            (JsonText::of_json(), "{\"a\":\"{\\\"t\\\":\\\"\\\\"),
        ] {
            assert_eq!(after(text, read).doubt, Some(Doubt::Escaped), "{read}");
        }
        for read in ["[\"\\u00", "[\"\\\\", "[\"x\\\"y\\\"", "\""] {
            assert_eq!(after(JsonText::of_json(), read).doubt, None, "{read}");
        }
        for read in [
            "[\"\\\"",
            "[\"a\", \"x\\\"",
            "{\"query\":\"mutation { login(t: \\\"",
            "{\"run\":\"curl -H \\\"A: b\\\" -H \\\"C: ",
        ] {
            let quoted = after(JsonText::of_json(), read);
            assert_eq!(quoted.doubt, Some(Doubt::Quotation), "{read}");
        }
        assert_eq!(after(JsonText::new(), "\"").doubt, None);
        assert_eq!(after(JsonText::of_message(), "\"").depth, 1);
    }

    #[test]
    fn a_placeholder_is_text_in_a_string_and_a_value_elsewhere() {
        let mut text = JsonText::new();
        text.advance(b"{\"n\":");
        text.pass_placeholder();
        text.advance(b",\"a\":\"");
        text.pass_placeholder();
        text.advance(b"\",\"b\":\"{\\\"c\\\":\\\"");
        text.pass_placeholder();
        assert_eq!(text.nesting().depth, 2);
    }
}
