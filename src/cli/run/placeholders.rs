//! Variables of the program that hold a placeholder: `--env GITHUB_TOKEN=github-pat`.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::cli::exit::usage;
use crate::environment::variables::Changes;
use crate::substitution::slug::{Field, Reference, Slug};

/// A variable and the credential whose placeholder it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlaceholderVariable {
    name: String,
    reference: Reference,
}

/// What is wrong. The text is not repeated: it could be a value that was typed in the wrong place.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected NAME=SLUG or NAME=SLUG.FIELD, such as GITHUB_TOKEN=github-pat: the name of a variable \
     and the public name of a credential"
)]
pub(super) struct InvalidVariable;

impl PlaceholderVariable {
    /// The variable `name`, for the credential or the field that `reference` names.
    pub(super) fn new(name: &str, reference: &str) -> Result<Self, InvalidVariable> {
        let mut bytes = name.bytes();
        let begins = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
        if !begins || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(InvalidVariable);
        }
        let (slug, field) = match reference.split_once('.') {
            Some((slug, field)) => (slug, Some(field)),
            None => (reference, None),
        };
        let field = field.map(Field::parse).transpose();
        Ok(Self {
            name: name.to_owned(),
            reference: Reference {
                slug: Slug::parse(slug).map_err(|_| InvalidVariable)?,
                field: field.map_err(|_| InvalidVariable)?,
            },
        })
    }

    /// `NAME=<<slug>>`, for people.
    pub(super) fn shown(&self) -> String {
        format!("{}={}", self.name, self.reference.placeholder())
    }
}

impl FromStr for PlaceholderVariable {
    type Err = InvalidVariable;

    fn from_str(text: &str) -> Result<Self, InvalidVariable> {
        let (name, reference) = text.split_once('=').ok_or(InvalidVariable)?;
        Self::new(name, reference)
    }
}

/// The variables of the command line.
///
/// # Errors
/// When one is not understood.
pub(super) fn parse(all: &[String]) -> anyhow::Result<Vec<PlaceholderVariable>> {
    let parsed = all.iter().map(|text| text.parse::<PlaceholderVariable>());
    let parsed: Result<_, InvalidVariable> = parsed.collect();
    parsed.map_err(|error| usage(error.to_string()))
}

/// Adds the variables of the project file, and those of the command line, which go first.
///
/// # Errors
/// When one is among those that lead the program through Egret.
pub(super) fn add(
    changes: &mut Changes,
    project: &[PlaceholderVariable],
    command_line: &[PlaceholderVariable],
) -> anyhow::Result<()> {
    let of_egret: BTreeSet<String> = changes.set.iter().map(|(name, _)| name.clone()).collect();
    let mut added = BTreeSet::new();
    for variable in command_line.iter().chain(project) {
        let name = &variable.name;
        if of_egret.contains(name) {
            return Err(usage(format!(
                "{name} cannot be set to a placeholder: Egret sets it itself"
            )));
        }
        if added.insert(name) {
            let placeholder = variable.reference.placeholder();
            changes.set.push((name.clone(), placeholder.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(text: &str) -> PlaceholderVariable {
        text.parse().unwrap()
    }

    #[test]
    fn a_variable_names_a_credential_or_a_field() {
        let mut changes = Changes {
            set: vec![("HTTPS_PROXY".to_owned(), "http://127.0.0.1:1".into())],
            remove: Vec::new(),
        };
        let project = [variable("TOKEN=other"), variable("_P=db.password")];
        add(&mut changes, &project, &[variable("TOKEN=github-pat")]).unwrap();
        let expected = [("TOKEN", "<<github-pat>>"), ("_P", "<<db.password>>")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.into()));
        assert_eq!(changes.set[1..], expected);
        let refused = add(&mut changes, &[], &[variable("HTTPS_PROXY=github-pat")]);
        assert!(refused.is_err());
    }

    #[test]
    fn what_is_wrong_is_not_repeated() {
        for text in [
            "",
            "A",
            "=a",
            "1A=a",
            "A B=a",
            "A=ghp_S3cret",
            "A=<<a>>",
            "A=a.",
            "A=a.b.c",
        ] {
            let error = text.parse::<PlaceholderVariable>().unwrap_err();
            assert!(!error.to_string().contains("S3cret"), "{text}");
        }
    }
}
