//! A value as it was typed, parsed into the fields of its kind.

use crate::secret::SecretBytes;
use crate::substitution::slug::{Field, Slug};
use crate::vault::model::{Kind, SealedFields};
use crate::vault::name::Principal;
use crate::vault::seal::{EncryptionContext, SealError, Sealer};

mod object;

/// Longest input for one credential, in bytes.
pub const MAX_INPUT: usize = 1024 * 1024;

/// The plaintext of one version: one nameless value, or one for each field.
#[derive(Debug)]
pub struct CredentialInput {
    kind: Kind,
    fields: Vec<(Option<Field>, SecretBytes)>,
}

/// Why an input is no value of that kind. Never quotes the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInput {
    /// Nothing was given.
    #[error("the value is empty")]
    Empty,
    /// U+FEFF in UTF-8, which some editors write at the start of a file.
    #[error(
        "the value begins with a byte order mark, which no server expects; save the file as UTF-8 \
         without one"
    )]
    ByteOrderMark,
    /// UTF-16, or text with a zero byte.
    #[error(
        "the value is text in UTF-16, or text that holds a zero byte; save it as UTF-8 without one"
    )]
    ZeroByte,
    /// More than [`MAX_INPUT`] bytes.
    #[error("the value is longer than 1 MiB")]
    TooLong,
    /// Fields are given as JSON.
    #[error(
        "this kind takes one JSON object of strings, like {{\"username\": \"…\", \"password\": \"…\"}}"
    )]
    NotAnObject,
    /// A field name outside the grammar.
    #[error("a field name is 1 to 32 characters of a-z, 0-9 and '_', and starts with a letter")]
    FieldName,
    /// The same name twice.
    #[error("a field is given twice")]
    DuplicateField,
    /// A login is a user name and a password.
    #[error("a login has exactly the fields \"username\" and \"password\"")]
    LoginFields,
}

impl CredentialInput {
    /// Parses an input.
    ///
    /// A [`Kind::Secret`] is the input itself, byte for byte; a command strips a final newline
    /// before. The other kinds are a JSON object of strings.
    pub fn parse(kind: Kind, input: SecretBytes) -> Result<Self, InvalidInput> {
        if input.is_empty() {
            return Err(InvalidInput::Empty);
        }
        if input.len() > MAX_INPUT {
            return Err(InvalidInput::TooLong);
        }
        let fields = match kind {
            Kind::Secret => vec![(None, input)],
            Kind::Login | Kind::Fields => named_fields(&input)?,
        };
        fields.iter().try_for_each(|(_, value)| check_text(value))?;
        let is_login = |fields: &[(Option<Field>, SecretBytes)]| {
            let has = |wanted: &str| {
                fields
                    .iter()
                    .any(|(name, _)| name.as_ref().is_some_and(|n| n.as_str() == wanted))
            };
            fields.len() == 2 && has("username") && has("password")
        };
        if kind == Kind::Login && !is_login(&fields) {
            return Err(InvalidInput::LoginFields);
        }
        Ok(Self { kind, fields })
    }

    /// The kind it was parsed as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Seals every field for one version of one credential.
    pub fn seal(
        &self,
        sealer: &Sealer,
        owner: &Principal,
        slug: &Slug,
        version: u32,
    ) -> Result<SealedFields, SealError> {
        self.fields
            .iter()
            .map(|(field, value)| {
                let context = EncryptionContext {
                    owner,
                    slug,
                    field: field.as_ref(),
                    version,
                };
                Ok((field.clone(), sealer.seal(context, value)?.into()))
            })
            .collect()
    }
}

/// Refuses what an editor or a shell made of the value. No upstream would know it, and it would be found
/// in no answer.
fn check_text(value: &SecretBytes) -> Result<(), InvalidInput> {
    let bytes = value.expose();
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(InvalidInput::ByteOrderMark);
    }
    let is_wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    // What is no text may have any bytes: Basic credentials carry it.
    let is_text = std::str::from_utf8(bytes).is_ok();
    if is_wide || (is_text && bytes.contains(&0)) {
        return Err(InvalidInput::ZeroByte);
    }
    Ok(())
}

fn named_fields(input: &SecretBytes) -> Result<Vec<(Option<Field>, SecretBytes)>, InvalidInput> {
    let members = object::parse(input.expose()).ok_or(InvalidInput::NotAnObject)?;
    let mut fields: Vec<(Option<Field>, SecretBytes)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        let name = std::str::from_utf8(name.expose()).map_err(|_| InvalidInput::FieldName)?;
        let field = Some(Field::parse(name).map_err(|_| InvalidInput::FieldName)?);
        if fields.iter().any(|(known, _)| *known == field) {
            return Err(InvalidInput::DuplicateField);
        }
        if value.is_empty() {
            return Err(InvalidInput::Empty);
        }
        fields.push((field, value));
    }
    if fields.is_empty() {
        return Err(InvalidInput::Empty);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, input: &str) -> Result<CredentialInput, InvalidInput> {
        CredentialInput::parse(kind, SecretBytes::new(input.as_bytes().to_vec()))
    }

    fn field(input: &CredentialInput, name: &str) -> String {
        let wanted = Some(Field::parse(name).unwrap());
        let (_, value) = input
            .fields
            .iter()
            .find(|(field, _)| *field == wanted)
            .unwrap();
        String::from_utf8(value.expose().to_vec()).unwrap()
    }

    #[test]
    fn a_secret_is_its_bytes() {
        let input =
            CredentialInput::parse(Kind::Secret, SecretBytes::new(vec![0, 255, b'\n'])).unwrap();
        assert_eq!(input.fields[0].0, None);
        assert_eq!(input.fields[0].1.expose(), [0, 255, b'\n']);
    }

    #[test]
    fn what_an_editor_or_a_shell_made_of_a_value_is_refused() {
        for (bytes, expected) in [
            (&b"\xef\xbb\xbfhunter2"[..], InvalidInput::ByteOrderMark),
            (b"\xff\xfeh\0u\0", InvalidInput::ZeroByte),
            (b"\xfe\xff\0h\0u", InvalidInput::ZeroByte),
            (b"h\0u\0n\0", InvalidInput::ZeroByte),
            (b"hunter2\0", InvalidInput::ZeroByte),
        ] {
            let input = SecretBytes::new(bytes.to_vec());
            let refused = CredentialInput::parse(Kind::Secret, input).unwrap_err();
            assert_eq!(refused, expected, "{bytes:?}");
        }
        for field in ["\\u0000x", "\\ufeffx"] {
            let input = format!(r#"{{"username":"a","password":"{field}"}}"#);
            assert!(parse(Kind::Login, &input).is_err(), "{field}");
        }
    }

    #[test]
    fn a_login_has_a_user_name_and_a_password() {
        let input = parse(Kind::Login, r#"{"username":"ann","password":"p\u0061ss"}"#).unwrap();
        assert_eq!(field(&input, "username"), "ann");
        assert_eq!(field(&input, "password"), "pass");
        for other in [
            r#"{"username":"ann"}"#,
            r#"{"username":"ann","password":"p","realm":"r"}"#,
            r#"{"user":"ann","password":"p"}"#,
        ] {
            assert_eq!(
                parse(Kind::Login, other).unwrap_err(),
                InvalidInput::LoginFields
            );
        }
    }

    #[test]
    fn bad_input_is_named_but_not_quoted() {
        let cases = [
            ("", InvalidInput::Empty),
            ("{}", InvalidInput::Empty),
            (r#"{"a":""}"#, InvalidInput::Empty),
            ("hunter2", InvalidInput::NotAnObject),
            (r#"["hunter2"]"#, InvalidInput::NotAnObject),
            (r#"{"a":1}"#, InvalidInput::NotAnObject),
            (r#"{"A":"hunter2"}"#, InvalidInput::FieldName),
            (
                r#"{"a":"hunter2","\u0061":"x"}"#,
                InvalidInput::DuplicateField,
            ),
        ];
        for (input, expected) in cases {
            let error = parse(Kind::Fields, input).unwrap_err();
            assert_eq!(error, expected, "{input}");
            assert!(!error.to_string().contains("hunter2"));
        }
        let long = "x".repeat(MAX_INPUT + 1);
        assert_eq!(
            parse(Kind::Secret, &long).unwrap_err(),
            InvalidInput::TooLong
        );
    }
}
