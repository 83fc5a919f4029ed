//! The clients that are tried, and how each sends a request with a credential.
//!
//! `{url}` is where to, `{host}` its host, `{model}` a host of which no request counts, `{placeholder}` the
//! credential, `{encoded}` the same for a URL, `{xml}` for XML and `{basic}` as the password in base64;
//! `{work}` is a directory of the client's own, which is removed afterwards.

mod assistants;
mod languages;
mod packages;
mod programs;

use super::client::Client;

/// All clients, in the order in which they are tried.
pub(super) fn all() -> impl Iterator<Item = &'static Client> {
    [
        programs::ALL,
        languages::ALL,
        packages::ALL,
        assistants::ALL,
    ]
    .into_iter()
    .flatten()
}

/// The client of that name.
pub(super) fn find(name: &str) -> Option<&'static Client> {
    all().find(|client| client.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::doctor::clients::client::Proof;

    #[test]
    fn each_client_has_a_name_and_a_path_of_its_own() {
        let paths: BTreeSet<_> = all().map(Client::path).collect();
        assert_eq!(paths.len(), all().count());
        let git = find("git").expect("known");
        assert!(git.asked_for("/git/info/refs?x") && git.asked_for("/git?x"));
        assert!(!git.asked_for("/github/x") && !git.asked_for("/"));
        let gh = find("gh").expect("known");
        assert!(gh.asked_for("/api/v3/gh") && !gh.asked_for("/gh"));
    }

    #[test]
    fn no_request_is_one_of_two_clients() {
        for client in all() {
            let own = client
                .at
                .map_or_else(|| format!("/{}", client.path()), str::to_owned);
            let of: Vec<_> = all().filter(|other| other.asked_for(&own)).collect();
            assert_eq!(of.len(), 1, "{own}");
        }
    }

    #[test]
    fn each_says_where_to_and_with_what() {
        for client in all().filter(|client| client.proof != Proof::None) {
            let values = client.variables.iter().map(|(_, value)| value);
            let texts = client.arguments.iter().chain(values);
            let file = client.file.iter().map(|(_, text)| text);
            let texts: Vec<_> = texts.chain(file).collect();
            let says = |what: &[&str]| {
                texts
                    .iter()
                    .any(|text| what.iter().any(|what| text.contains(what)))
            };
            assert!(says(&["{url}", "{host}"]), "{}", client.name);
            let shows = says(&["{placeholder}", "{encoded}", "{xml}", "{basic}"]);
            assert_eq!(shows, client.proof == Proof::Value, "{}", client.name);
        }
    }
}
