//! Reading a secret: from standard input, or from a prompt that does not show it. Never from an
//! argument, which would stay in the shell's history and in the process list.

use std::io::{self, IsTerminal as _, Read};

use anyhow::{Context as _, ensure};
use zeroize::Zeroizing;

use super::exit::usage;
use super::prompt;
use crate::secret::SecretBytes;
use crate::vault::Kind;

/// Longest value, in bytes, without the newline that is stripped.
const MAX_VALUE: usize = 64 * 1024;

/// Arguments that people try when they want to give a value on the command line.
#[derive(clap::Args)]
pub(super) struct NoArgument {
    /// Caught here because the complaint of clap would quote the value.
    #[arg(hide = true, num_args = 0.., allow_hyphen_values = false)]
    surplus: Vec<std::ffi::OsString>,
    #[arg(
        long = "value",
        aliases = ["secret", "password", "token", "key"],
        hide = true,
        num_args = 0..=1,
        default_missing_value = ""
    )]
    flag: Option<std::ffi::OsString>,
}

impl NoArgument {
    /// Refuses a value given as an argument, and says how to give it.
    pub(super) fn check(&self, command: &str) -> anyhow::Result<()> {
        if self.surplus.is_empty() && self.flag.is_none() {
            return Ok(());
        }
        Err(usage(format!(
            "do not give a value as an argument: it would stay in the shell's history, and other users \
             could see it in the process list\n\n\
             Type it at a prompt that does not show it:\n  {command}\n\n\
             or pipe it in:\n  printf %s \"$SECRET\" | {command}\n  {command} < secret.txt\n\n\
             If this value was real, treat it as exposed and replace it."
        )))
    }
}

/// Reads a value of that kind. `what` names it in a prompt.
pub(super) fn read(kind: Kind, what: &str) -> anyhow::Result<SecretBytes> {
    if !io::stdin().is_terminal() {
        return read_from(io::stdin().lock());
    }
    match kind {
        Kind::Secret => prompt_twice(&format!("Value of {what}")),
        Kind::Login => prompt_login(),
        Kind::Fields => Err(usage(
            "a credential of kind `fields` is piped in as one JSON object of strings, such as \
             {\"client_id\": \"…\", \"client_secret\": \"…\"}",
        )),
    }
}

/// Reads all of `input` and removes one newline at the end, which editors and `echo` add.
fn read_from(input: impl Read) -> anyhow::Result<SecretBytes> {
    // One allocation: growing would leave copies in freed memory. Two bytes more for a newline, and
    // one to notice that there is too much.
    let limit = MAX_VALUE + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 32));
    input
        .take(limit as u64)
        .read_to_end(&mut bytes)
        .context("cannot read the value from standard input")?;
    strip_newline(&mut bytes);
    checked(bytes)
}

fn strip_newline(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
}

fn checked(mut bytes: Zeroizing<Vec<u8>>) -> anyhow::Result<SecretBytes> {
    ensure!(!bytes.is_empty(), "the value is empty; nothing was saved");
    ensure!(
        bytes.len() <= MAX_VALUE,
        "the value is longer than 64 KiB; nothing was saved"
    );
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

fn prompt_twice(what: &str) -> anyhow::Result<SecretBytes> {
    let mut first = prompt::hidden(&format!("{what} (not shown): "))?;
    ensure!(!first.is_empty(), "the value is empty; nothing was saved");
    let second = prompt::hidden("Once more: ")?;
    ensure!(
        *first == *second,
        "the two entries differ; nothing was saved"
    );
    checked(Zeroizing::new(std::mem::take(&mut *first).into_bytes()))
}

fn prompt_login() -> anyhow::Result<SecretBytes> {
    eprint!("Username: ");
    let mut username = String::new();
    io::stdin().read_line(&mut username)?;
    let password = prompt_twice("Password")?;
    let Ok(text) = std::str::from_utf8(password.expose()) else {
        anyhow::bail!("the password is not valid UTF-8; nothing was saved");
    };
    // This kind is read as JSON. At worst every byte becomes a \u escape.
    let mut json = Zeroizing::new(Vec::with_capacity(64 + 6 * (username.len() + text.len())));
    json.extend_from_slice(b"{\"username\":");
    serde_json::to_writer(&mut *json, username.trim_end_matches(['\r', '\n']))?;
    json.extend_from_slice(b",\"password\":");
    serde_json::to_writer(&mut *json, text)?;
    json.push(b'}');
    checked(json)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(input: &str) -> Option<Vec<u8>> {
        read_from(input.as_bytes())
            .ok()
            .map(|value| value.expose().to_vec())
    }

    #[test]
    fn exactly_one_newline_is_taken_off() {
        for (input, value) in [
            ("v", "v"),
            ("v\n", "v"),
            ("v\r\n", "v"),
            ("v\n\n", "v\n"),
            ("v\r", "v\r"),
            ("v \n", "v "),
            ("\nv", "\nv"),
        ] {
            assert_eq!(
                read_text(input).as_deref(),
                Some(value.as_bytes()),
                "{input:?}"
            );
        }
    }

    #[test]
    fn an_empty_value_is_refused() {
        for input in ["", "\n", "\r\n"] {
            assert_eq!(read_text(input), None, "{input:?}");
        }
    }

    #[test]
    fn a_value_of_the_largest_size_is_taken_whole_and_a_larger_one_not_at_all() {
        let largest = "x".repeat(MAX_VALUE);
        assert_eq!(
            read_text(&largest).map(|value| value.len()),
            Some(MAX_VALUE)
        );
        assert_eq!(
            read_text(&format!("{largest}\r\n")).map(|value| value.len()),
            Some(MAX_VALUE)
        );
        assert_eq!(read_text(&format!("{largest}x")), None);
        assert_eq!(read_text(&largest.repeat(3)), None);
    }

    #[test]
    fn the_complaint_about_an_argument_does_not_repeat_it() {
        let arguments = NoArgument {
            surplus: vec!["hunter2".into()],
            flag: None,
        };
        let error = arguments
            .check("egret credential add x")
            .expect_err("a value was given");
        assert!(!error.to_string().contains("hunter2"));
        assert!(error.is::<crate::cli::exit::Usage>());
    }

    proptest! {
        #[test]
        fn what_is_piped_in_is_kept_byte_for_byte(value in prop::collection::vec(any::<u8>(), 1..64)) {
            let mut input = value.clone();
            input.push(b'\n');
            let read = read_from(&input[..]).map(|value| value.expose().to_vec());
            // A value that ends in CR cannot be told from one that was written with CRLF.
            if value.last() != Some(&b'\r') {
                prop_assert_eq!(read.ok(), Some(value));
            }
        }
    }
}
