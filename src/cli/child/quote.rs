//! Assignments for shells, quoted so that a shell takes every character of a value literally.

use std::borrow::Cow;

use clap::ValueEnum;

/// A language for assignments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Shell {
    /// bash, zsh, dash and other POSIX shells
    Sh,
    /// fish
    Fish,
    /// PowerShell
    #[value(name = "powershell", alias = "pwsh")]
    Power,
    /// A .env file
    #[value(name = "dotenv")]
    DotEnv,
}

impl Shell {
    /// A line that sets and exports a variable.
    pub(in crate::cli) fn assign(self, name: &str, value: &str) -> String {
        match self {
            Shell::Sh => format!("export {name}={}", sh(value)),
            Shell::Fish => format!("set -gx {name} {}", fish(value)),
            Shell::Power => format!("$Env:{name} = {}", powershell(value)),
            Shell::DotEnv => format!("{name}={}", dotenv(value)),
        }
    }

    /// A line that removes a variable, if the language has one.
    pub(in crate::cli) fn remove(self, name: &str) -> Option<String> {
        match self {
            Shell::Sh => Some(format!("unset {name}")),
            Shell::Fish => Some(format!("set -e {name}")),
            Shell::Power => Some(format!(
                "Remove-Item -ErrorAction Ignore -LiteralPath Env:{name}"
            )),
            Shell::DotEnv => None,
        }
    }
}

/// A word of a command that is printed to be typed: in quotes only where a shell needs them.
pub(in crate::cli) fn word(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.into();
    }
    sh(text).into()
}

/// Single quotes keep everything but themselves (POSIX shell, 2.2.2).
fn sh(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// In fish's single quotes a backslash escapes itself and the quote.
fn fish(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

/// PowerShell takes four typographic characters for a single quote as well; doubling writes each.
fn powershell(value: &str) -> String {
    let mut quoted = String::from("'");
    for c in value.chars() {
        if matches!(c, '\'' | '\u{2018}'..='\u{201B}') {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

/// Readers of .env files agree on little. A plain value has no quotes, the only form that `docker
/// --env-file` takes; others have single quotes; one with a single quote inside has double quotes.
fn dotenv(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/@%+,=|".contains(c);
    if value.chars().all(plain) {
        value.to_owned()
    } else if !value.contains(['\'', '\n', '\r']) {
        format!("'{value}'")
    } else {
        let escaped = value
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('$', r"\$")
            .replace('`', r"\`")
            .replace('\n', r"\n")
            .replace('\r', r"\r");
        format!("\"{escaped}\"")
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What a real shell makes of the assignment.
    fn through_sh(value: &str) -> String {
        let script = format!(
            "{}; printf %s \"$EGRET_T\"",
            Shell::Sh.assign("EGRET_T", value)
        );
        let output = Command::new("sh")
            .arg("-c")
            .arg(script)
            .output()
            .expect("a shell");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Reads a single-quoted word by the rules of fish.
    fn read_fish(word: &str) -> Option<String> {
        let inner = word.strip_prefix('\'')?;
        let mut text = String::new();
        let mut rest = inner.chars();
        loop {
            match rest.next()? {
                '\'' => break,
                '\\' => match rest.next()? {
                    c @ ('\\' | '\'') => text.push(c),
                    c => text.extend(['\\', c]),
                },
                c => text.push(c),
            }
        }
        rest.next().is_none().then_some(text)
    }

    /// Reads a single-quoted string by the rules of PowerShell.
    fn read_powershell(word: &str) -> Option<String> {
        let is_quote = |c: char| matches!(c, '\'' | '\u{2018}'..='\u{201B}');
        let mut rest = word.strip_prefix('\'')?.chars().peekable();
        let mut text = String::new();
        loop {
            let c = rest.next()?;
            if is_quote(c) {
                match rest.next_if(|next| is_quote(*next)) {
                    Some(_) => text.push(c),
                    None => break,
                }
            } else {
                text.push(c);
            }
        }
        rest.next().is_none().then_some(text)
    }

    /// Reads a value as the common .env readers do.
    fn read_dotenv(word: &str) -> Option<String> {
        if let Some(inner) = word.strip_prefix('\'') {
            let inner = inner.strip_suffix('\'')?;
            return (!inner.contains('\'')).then(|| inner.to_owned());
        }
        let Some(inner) = word.strip_prefix('"') else {
            return (!word.contains([' ', '#', '$', '"', '\'', '\\'])).then(|| word.to_owned());
        };
        let mut text = String::new();
        let mut rest = inner.chars();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => match rest.next()? {
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    c => text.push(c),
                },
                '$' => return None,
                c => text.push(c),
            }
        }
        rest.next().is_none().then_some(text)
    }

    #[test]
    fn each_shell_has_its_own_assignment() {
        let assign = |shell: Shell| shell.assign("A", "it's");
        assert_eq!(assign(Shell::Sh), r"export A='it'\''s'");
        assert_eq!(assign(Shell::Fish), r"set -gx A 'it\'s'");
        assert_eq!(assign(Shell::Power), "$Env:A = 'it''s'");
        assert_eq!(assign(Shell::DotEnv), "A=\"it's\"");
        assert_eq!(
            Shell::DotEnv.assign("A", "http://a:b@127.0.0.1:1"),
            "A=http://a:b@127.0.0.1:1"
        );
    }

    #[test]
    fn a_shell_reads_back_what_would_run_a_command() {
        for value in [
            "$(id)", "`id`", "a\nb", "'; id; '", "\\", "!!", "*", "~", "",
        ] {
            assert_eq!(through_sh(value), value);
        }
    }

    #[test]
    fn a_word_is_quoted_only_where_it_has_to_be() {
        for plain in ["ci", "jwt:system:serviceaccount:build:ci", "a.example:8443"] {
            assert_eq!(word(plain), plain);
        }
        for special in [
            "",
            "a b",
            "[::1]:443",
            "*.example.com",
            "jwt:a;id",
            "it's",
            "$(id)",
        ] {
            assert_eq!(word(special), sh(special));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn sh_reads_back_any_value(value in "[^\\x00]{0,40}") {
            prop_assert_eq!(through_sh(&value), value);
        }

        #[test]
        fn other_readers_read_back_any_value(value in "([^\\x00]|['\"\\\\$`\u{2018}\u{201b}\n\r ]){0,40}") {
            prop_assert_eq!(read_fish(&fish(&value)), Some(value.clone()));
            prop_assert_eq!(read_powershell(&powershell(&value)), Some(value.clone()));
            prop_assert_eq!(read_dotenv(&dotenv(&value)), Some(value));
        }
    }
}
