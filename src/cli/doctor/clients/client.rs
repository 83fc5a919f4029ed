//! What there is to say about a client: its program, its request, and what corrects it.

use super::outcome::Outcome;

/// One client.
pub(in crate::cli::doctor::clients) struct Client {
    /// What people call it.
    pub(in crate::cli::doctor::clients) name: &'static str,
    /// The program.
    pub(in crate::cli::doctor::clients) program: &'static str,
    /// Another program that has to be there.
    pub(in crate::cli::doctor::clients) with: Option<&'static str>,
    pub(in crate::cli::doctor::clients) arguments: &'static [&'static str],
    pub(in crate::cli::doctor::clients) variables: &'static [(&'static str, &'static str)],
    /// Variables of the user's own that would lead it elsewhere, or go before the placeholder.
    pub(in crate::cli::doctor::clients) without: &'static [&'static str],
    /// A file that the program reads.
    pub(in crate::cli::doctor::clients) file: Option<(&'static str, &'static str)>,
    /// Arguments with which the program ends well if everything is there that the client needs.
    pub(in crate::cli::doctor::clients) check: Option<&'static [&'static str]>,
    /// What its requests begin with, where that is not `/` and its name.
    pub(in crate::cli::doctor::clients) at: Option<&'static str>,
    /// What proves that it works.
    pub(in crate::cli::doctor::clients) proof: Proof,
    /// What corrects it where what helps most clients does not.
    pub(in crate::cli::doctor::clients) remedies: &'static [(Outcome, &'static str)],
}

/// What has to arrive at the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::doctor::clients) enum Proof {
    /// The value.
    Value,
    /// A request: the client has no place for a key in it.
    Request,
    /// It speaks no HTTP, and is not tried.
    None,
}

/// What a client has that says nothing else.
pub(in crate::cli::doctor::clients) const NOTHING: Client = Client {
    name: "",
    program: "",
    with: None,
    arguments: &[],
    variables: &[],
    without: &[],
    file: None,
    check: None,
    at: None,
    proof: Proof::Value,
    remedies: &[],
};

impl Client {
    /// The path that its requests begin with.
    pub(in crate::cli::doctor::clients) fn path(&self) -> String {
        let letters = self.name.to_ascii_lowercase();
        letters.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    }

    /// Whether a request for this target is one of its requests.
    pub(in crate::cli::doctor::clients) fn asked_for(&self, target: &str) -> bool {
        let path = target.split('?').next().unwrap_or(target);
        let own = self
            .at
            .map_or_else(|| format!("/{}", self.path()), str::to_owned);
        let rest = path.strip_prefix(&own);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Arguments with which the program says its version, and connects to nothing.
    pub(in crate::cli::doctor::clients) fn version(&self) -> &'static [&'static str] {
        match self.program {
            "go" => &["version"],
            "java" => &["-version"],
            "kubectl" => &["version", "--client"],
            "helm" => &["version"],
            _ => &["--version"],
        }
    }

    /// What corrects it.
    pub(in crate::cli::doctor::clients) fn remedy(&self, outcome: Outcome) -> Option<&'static str> {
        let mut own = self.remedies.iter();
        if let Some((_, remedy)) = own.find(|(of, _)| *of == outcome) {
            return Some(remedy);
        }
        match outcome {
            Outcome::Works => None,
            Outcome::GoesRoundTheProxy => {
                Some("run it with `egret run --isolate`, or give it a base URL (base_url.listen)")
            }
            Outcome::DoesNotTrustTheCa => {
                Some("give it the certificates that `egret ca path` names, or use base_url.listen")
            }
            Outcome::AltersThePlaceholder => {
                Some("write %3C%3Cslug%3E%3E in URLs, or use `egret credential stand-in`")
            }
            Outcome::SpeaksNoHttp => {
                Some("let it through: `egret run --isolate --allow-tcp HOST:PORT -- COMMAND`")
            }
            Outcome::Unknown => Some("run it by hand: `egret run -- COMMAND`"),
        }
    }
}
