//! `Authorization: Basic`: credentials inside base64 (RFC 7617).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::policy::location::Location;

use super::edit::Edit;
use super::encoding::Encoding;
use super::placeholder::scan_with;
use super::stand_in::StandInSearch;

/// Basic credentials, opened.
///
/// Clients put their own passwords here too, so there is no `Debug`.
pub struct Basic {
    /// The scheme and the white space after it, as the client wrote them.
    prefix: String,
    decoded: Vec<u8>,
    url_alphabet: bool,
    padded: bool,
}

/// Clients differ in padding, and some leave bits set after the last byte.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

const DECODER: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

impl Basic {
    /// Whether the value of an `Authorization` header names this scheme.
    pub fn is_named(header_value: &[u8]) -> bool {
        let scheme = header_value.get(..5);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
    }

    /// Opens the value of an `Authorization` header. `None` if it is of another scheme or holds no
    /// base64, `Basic <<ready-made>>` included: such a value is scanned like any other header.
    pub fn parse(header_value: &[u8]) -> Option<Basic> {
        if !Self::is_named(header_value) {
            return None;
        }
        let rest = &header_value[5..];
        let credentials = rest.trim_ascii();
        let blank = rest.len() - rest.trim_ascii_start().len();
        if blank == 0 || credentials.is_empty() {
            return None;
        }
        let url_alphabet = credentials.iter().any(|byte| matches!(byte, b'-' | b'_'));
        let standard: Vec<u8> = credentials
            .iter()
            .map(|&byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                other => other,
            })
            .collect();
        Some(Basic {
            prefix: String::from_utf8(header_value[..5 + blank].to_vec()).ok()?,
            decoded: DECODER.decode(&standard).ok()?,
            url_alphabet,
            // A length that needs no padding does not tell whether the client pads. Most do.
            padded: credentials.len().is_multiple_of(4),
        })
    }

    /// The decoded credentials: what [`Basic::edits`] refers to and is spliced.
    pub fn decoded(&self) -> &[u8] {
        &self.decoded
    }

    /// The placeholders inside. One that is percent-encoded tells that the client encodes both parts as
    /// a form does, as OAuth clients have to (RFC 6749 section 2.3.1), and so the value is.
    pub fn edits(&self, stand_ins: Option<&StandInSearch>) -> Vec<Edit> {
        let colon = memchr::memchr(b':', &self.decoded);
        let location = Location::Header("authorization".into());
        let mut edits = Vec::new();
        for token in scan_with(Encoding::BasicForm, &self.decoded, stand_ins) {
            let in_user = colon.is_some_and(|colon| token.span.end <= colon);
            let is_encoded = self.decoded[token.span.clone()].contains(&b'%');
            let encoding = match (is_encoded, in_user) {
                (true, _) => Encoding::BasicForm,
                (false, true) => Encoding::BasicUser,
                (false, false) => Encoding::Raw,
            };
            edits.push(Edit::new(token, encoding, location.clone()));
        }
        edits
    }

    /// The header value with `spliced` in place of the decoded credentials, in the alphabet and
    /// with the padding that the client used.
    pub fn render(&self, spliced: &[u8]) -> Vec<u8> {
        let alphabet = if self.url_alphabet {
            &alphabet::URL_SAFE
        } else {
            &alphabet::STANDARD
        };
        let encoder = GeneralPurpose::new(alphabet, LENIENT.with_encode_padding(self.padded));
        let room = base64::encoded_len(spliced.len(), self.padded).unwrap_or_default();
        // Allocated once, so that no growing buffer leaves a copy of the credentials in freed memory.
        let mut value = String::with_capacity(self.prefix.len() + room);
        value.push_str(&self.prefix);
        encoder.encode_string(spliced, &mut value);
        value.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::{
        BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD,
    };

    use super::*;
    use crate::secret::SecretBytes;
    use crate::substitution::edit::SpliceError;
    use crate::substitution::splice::splice;

    fn substituted(header: &[u8], value: &[u8]) -> Result<Vec<u8>, SpliceError> {
        let value = SecretBytes::new(value.to_vec());
        let basic = Basic::parse(header).unwrap();
        let spliced = splice(basic.decoded(), &basic.edits(None), |_| Some(&value))?;
        Ok(basic.render(&spliced))
    }

    #[test]
    fn every_alphabet_and_padding_comes_back_as_it_was() {
        for user in ["u", "us", "usr", "", "ÿ?ÿ", "~~~>"] {
            let before = format!("{user}:<<gh>>~?");
            let after = format!("{user}:s3cr\u{ff}t~?");
            for engine in [
                BASE64_STANDARD,
                BASE64_STANDARD_NO_PAD,
                BASE64_URL_SAFE,
                BASE64_URL_SAFE_NO_PAD,
            ] {
                let header = format!("bAsIc  {}", engine.encode(&before));
                let result = substituted(header.as_bytes(), "s3cr\u{ff}t".as_bytes()).unwrap();
                let credentials = result.strip_prefix(b"bAsIc  ").unwrap();
                let reread = Basic::parse(&result).unwrap();
                assert_eq!(reread.decoded(), after.as_bytes());
                // Where the header shows which engine the client used, the same is used.
                if header.contains(['-', '_']) || header.contains(['+', '/']) {
                    let told = header.contains('=') || before.len() % 3 != 0;
                    assert!(!told || engine.decode(credentials).is_ok(), "{header}");
                }
            }
        }
    }

    #[test]
    fn binary_values_are_safe_inside_base64() {
        let result = substituted(b"Basic dTo8PGJpbj4+", b"\0\xff\r\n").unwrap();
        assert_eq!(Basic::parse(&result).unwrap().decoded(), b"u:\0\xff\r\n");
    }

    #[test]
    fn the_user_name_may_be_the_placeholder_but_hold_no_colon() {
        assert_eq!(
            substituted(b"Basic PDxnaD4+Og==", b"ghp_x").unwrap(),
            b"Basic Z2hwX3g6"
        );
        assert!(substituted(b"Basic PDxnaD4+Og==", b"user:pass").is_err());
        let whole = format!("Basic {}", BASE64_STANDARD.encode("<<gh>>"));
        assert!(substituted(whole.as_bytes(), b"user:pass").is_ok());
    }

    #[test]
    fn what_holds_no_base64_is_no_basic() {
        for header in [
            "",
            "Basic",
            "Basic ",
            "Basic <<gh>>",
            "Basicx dTp1",
            "Bearer dTp1",
            "Basic dTp1 dTp1",
            "BasicdTp1",
            "Basic u",
        ] {
            assert!(Basic::parse(header.as_bytes()).is_none(), "{header}");
        }
    }

    #[test]
    fn the_location_is_the_header() {
        let basic = Basic::parse(b"Basic dTo8PGJpbj4+").unwrap();
        assert_eq!(
            basic.edits(None)[0].location,
            Location::Header("authorization".into())
        );
    }
}
