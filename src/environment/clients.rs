//! Which client reads which variable: `certs/clients.toml`, built into the program.

use std::sync::LazyLock;

use serde::Deserialize;

const TEXT: &str = include_str!("../../certs/clients.toml");

static CLIENTS: LazyLock<Clients> =
    LazyLock::new(|| toml::from_str(TEXT).expect("a test reads the file that is built in"));

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clients {
    /// What is set.
    pub(super) variable: Vec<Variable>,
    /// What is not passed on, because it would win.
    pub(super) set_aside: Vec<SetAside>,
    /// Programs that are called with options.
    pub(super) wrapper: Vec<Wrapper>,
}

/// A variable that is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) is: Content,
    /// For the documentation.
    #[serde(rename = "read_by")]
    _read_by: String,
}

/// What a variable is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Content {
    /// The proxy's URL.
    Proxy,
    /// The hosts that are reached without the proxy.
    Direct,
    /// A file with the CA alone.
    Authority,
    /// A file with the system's roots and the CA.
    Bundle,
    /// Options for a JVM.
    Java,
    /// A directory with settings for PHP.
    Php,
    /// Files with settings for Mercurial.
    Mercurial,
    /// A file with settings for apt.
    Apt,
    /// A file with settings for wget.
    Wget,
    /// The digit 1.
    On,
}

/// An inherited variable that would win over those that are set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetAside {
    pub(super) name: String,
    /// It holds options for a JVM, of which only some would win.
    #[serde(default)]
    pub(super) options: bool,
    /// For the documentation.
    #[serde(rename = "read_by")]
    _read_by: String,
}

/// A program that takes its proxy as an option, and from no variable.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wrapper {
    pub(super) program: String,
    /// The file of `certs/wrappers` that calls it.
    pub(super) script: String,
}

/// What the file says.
pub(super) fn clients() -> &'static Clients {
    &CLIENTS
}

/// The variables with one of these contents, in the file's order.
pub(super) fn with(contents: &[Content]) -> impl Iterator<Item = &'static Variable> {
    let variables = clients().variable.iter();
    variables.filter(move |variable| contents.contains(&variable.is))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_variable_is_named_twice() {
        let Clients {
            variable,
            set_aside,
            ..
        } = clients();
        let set = variable.iter().map(|variable| &variable.name);
        let names: Vec<_> = set.chain(set_aside.iter().map(|it| &it.name)).collect();
        let different: BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }
}
