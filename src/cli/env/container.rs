//! The variables of `egret run`, for a container that has Egret's public directory and reaches the proxy
//! by name. The token comes from a place for secrets and is in no file.

use clap::ValueEnum;
use serde_json::json;
use zeroize::Zeroizing;

use crate::environment::inherited::{Inherited, TOKEN_VARIABLE};
use crate::environment::proxy_access::{Login, ProxyAccess};
use crate::environment::trust::TrustFiles;
use crate::environment::variables;

/// What runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Runner {
    /// A service of Docker Compose; EGRET_TOKEN comes from its environment
    Compose,
    /// A container of a pod; the token comes from a Secret, the certificates from a ConfigMap
    Kubernetes,
    /// n8n as a service of Docker Compose, whose workflows cannot read the token
    #[value(name = "n8n")]
    N8n,
}

/// A container that is to use the proxy.
pub(super) struct Container<'a> {
    /// What the ledger calls its requests, and the name of the service.
    pub(super) action: &'a str,
    /// Name and port of the proxy, as the container reaches it.
    pub(super) proxy: (&'a str, u16),
    /// Where the files of `egret ca export` are.
    pub(super) trust: &'a str,
    /// The hosts that are reached without the proxy.
    pub(super) direct: &'a [String],
}

/// Stands for the token until it is replaced by what the runner replaces.
const MARK: &str = "EGRET-TOKEN-GOES-HERE";

impl Container<'_> {
    /// What to put into the runner's file.
    pub(super) fn configuration(&self, runner: Runner) -> anyhow::Result<String> {
        let variables = self.variables(runner)?;
        Ok(match runner {
            Runner::Compose | Runner::N8n => self.compose(&variables),
            Runner::Kubernetes => self.kubernetes(&variables),
        })
    }

    /// Each variable, with its value as the runner reads it.
    fn variables(&self, runner: Runner) -> anyhow::Result<Vec<(String, String)>> {
        let login = Login {
            action: self.action.to_owned(),
            token: Zeroizing::new(MARK.to_owned()),
        };
        let (host, port) = self.proxy;
        let access = ProxyAccess::named(host.to_owned(), port, Some(login));
        let trust = TrustFiles::in_directory(self.trust.as_ref());
        let changes = variables::changes(&access, &trust, self.direct, &Inherited::new());
        // An expression of a workflow, `{{ $env.HTTPS_PROXY }}`, would have the token.
        let closed = ("N8N_BLOCK_ENV_ACCESS_IN_NODE".to_owned(), "true".into());
        let closed = (runner == Runner::N8n).then_some(closed);
        let written = changes.set.into_iter().chain(closed).map(|(name, value)| {
            let value = value.into_string();
            let value = value.map_err(|_| anyhow::anyhow!("{name} would not be UTF-8"))?;
            // Runners read a dollar as the beginning of a variable.
            let value = value.replace('$', "$$");
            let token = match runner {
                Runner::Compose | Runner::N8n => format!("${{{TOKEN_VARIABLE}:?}}"),
                Runner::Kubernetes => format!("$({TOKEN_VARIABLE})"),
            };
            Ok((name, value.replace(MARK, &token)))
        });
        written.collect()
    }

    fn compose(&self, variables: &[(String, String)]) -> String {
        let service = service(self.action);
        let mut text = format!("services:\n  {}:\n    environment:\n", quoted(&service));
        for (name, value) in variables {
            text += &format!("      {name}: {}\n", quoted(value));
        }
        let mount = format!("{0}:{0}:ro", self.trust);
        text + &format!("    volumes:\n      - {}\n", quoted(&mount))
    }

    fn kubernetes(&self, variables: &[(String, String)]) -> String {
        let mut text = format!(
            "# In the container. A variable can name only those before it.\n\
             env:\n  - name: {TOKEN_VARIABLE}\n    valueFrom:\n      secretKeyRef:\n        name: egret-client\n\
             \x20       key: token\n"
        );
        for (name, value) in variables {
            text += &format!("  - name: {name}\n    value: {}\n", quoted(value));
        }
        text += &format!(
            "volumeMounts:\n  - name: egret-trust\n    mountPath: {}\n    readOnly: true\n",
            quoted(self.trust)
        );
        text + "# In the pod.\nvolumes:\n  - name: egret-trust\n    configMap:\n      name: egret-trust\n"
    }
}

/// The name of a service: Compose takes no others.
fn service(action: &str) -> String {
    let is_taken = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    action
        .chars()
        .map(|c| if is_taken(c) { c } else { '-' })
        .collect()
}

/// A text in JSON, which YAML reads as the same.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(runner: Runner) -> String {
        let container = Container {
            action: "nightly job: 1",
            proxy: ("egret", 7070),
            trust: "/trust",
            direct: &["localhost".to_owned(), "a$b".to_owned()],
        };
        container.configuration(runner).unwrap()
    }

    #[test]
    fn no_token_is_in_it_but_what_the_runner_replaces() {
        let compose = configuration(Runner::Compose);
        let url = "\"http://nightly%20job%253A%201:${EGRET_TOKEN:?}@egret:7070\"";
        assert!(
            compose.contains(&format!("HTTPS_PROXY: {url}\n")),
            "{compose}"
        );
        assert!(compose.contains("NO_PROXY: \"localhost,a$$b\"\n"));
        assert!(compose.contains("SSL_CERT_FILE: \"/trust/ca-bundle.pem\"\n"));
        let pod = configuration(Runner::Kubernetes);
        assert!(pod.contains(":$(EGRET_TOKEN)@egret:7070\""), "{pod}");
        let (token, first) = (pod.find("EGRET_TOKEN\n"), pod.find("HTTP_PROXY"));
        assert!(token < first, "a variable names only those before it");
        let n8n = configuration(Runner::N8n);
        let closed = "      N8N_BLOCK_ENV_ACCESS_IN_NODE: \"true\"\n";
        assert_eq!(n8n.replace(closed, ""), compose);
        assert!(n8n.contains(closed));
        for text in [compose, pod, n8n] {
            assert!(!text.contains(MARK), "{text}");
        }
    }
}
