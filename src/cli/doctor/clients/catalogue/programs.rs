//! Programs that send requests: fetchers, and those of services.

use crate::cli::doctor::clients::client::{Client, NOTHING, Proof};
use crate::cli::doctor::clients::outcome::Outcome;

const BEARER: &str = "Authorization: Bearer {placeholder}";

const TERRAFORM: &str = "terraform {\n  backend \"http\" {}\n}\n";

pub(super) const ALL: &[Client] = &[
    Client {
        name: "curl",
        program: "curl",
        arguments: &[
            "-sS",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-H",
            BEARER,
            "{url}",
        ],
        ..NOTHING
    },
    Client {
        name: "wget",
        program: "wget",
        arguments: &[
            "-q",
            "-O",
            "/dev/null",
            "--tries=1",
            "--timeout=20",
            "--header=Authorization: Bearer {placeholder}",
            "{url}",
        ],
        remedies: &[(
            Outcome::DoesNotTrustTheCa,
            "give it --ca-certificate=\"$SSL_CERT_FILE\", which `egret run` sets",
        )],
        ..NOTHING
    },
    Client {
        name: "git",
        program: "git",
        arguments: &[
            "-c",
            "http.extraHeader=Authorization: Bearer {placeholder}",
            "ls-remote",
            "{url}",
        ],
        variables: &[("GIT_TERMINAL_PROMPT", "0")],
        ..NOTHING
    },
    Client {
        name: "svn",
        program: "svn",
        arguments: &[
            "info",
            "--non-interactive",
            "--no-auth-cache",
            "--username=key",
            "--password={placeholder}",
            "{url}",
        ],
        variables: &[("HOME", "{work}")],
        remedies: &[(
            Outcome::GoesRoundTheProxy,
            "give it the options of certs/wrappers/svn.sh, or `egret run --isolate`",
        )],
        ..NOTHING
    },
    Client {
        name: "kubectl",
        program: "kubectl",
        arguments: &[
            "get",
            "--raw",
            "/kubectl/doctor",
            "--server=https://{host}",
            "--token={placeholder}",
            "--request-timeout=20s",
        ],
        variables: &[("KUBECONFIG", "{work}/kubeconfig")],
        ..NOTHING
    },
    Client {
        name: "Terraform",
        program: "terraform",
        arguments: &["init", "-input=false", "-no-color"],
        variables: &[
            ("TF_HTTP_ADDRESS", "{url}"),
            ("TF_HTTP_USERNAME", "key"),
            ("TF_HTTP_PASSWORD", "{placeholder}"),
            ("TF_HTTP_RETRY_MAX", "0"),
            ("CHECKPOINT_DISABLE", "1"),
        ],
        file: Some(("main.tf", TERRAFORM)),
        ..NOTHING
    },
    Client {
        name: "AWS CLI",
        program: "aws",
        arguments: &[
            "s3api",
            "list-buckets",
            "--no-sign-request",
            "--endpoint-url={url}",
            "--region=us-east-1",
            "--cli-connect-timeout=20",
            "--cli-read-timeout=20",
        ],
        variables: &[("AWS_MAX_ATTEMPTS", "1")],
        // It signs with its keys, and has no place for a placeholder.
        proof: Proof::Request,
        ..NOTHING
    },
    Client {
        name: "gh",
        program: "gh",
        arguments: &["api", "gh", "--hostname", "{host}"],
        variables: &[
            ("GH_ENTERPRISE_TOKEN", "{placeholder}"),
            ("GH_CONFIG_DIR", "{work}"),
            ("GH_NO_UPDATE_NOTIFIER", "1"),
        ],
        without: &["GH_TOKEN", "GITHUB_TOKEN", "GITHUB_ENTERPRISE_TOKEN"],
        at: Some("/api/v3/gh"),
        ..NOTHING
    },
    Client {
        name: "glab",
        program: "glab",
        arguments: &["api", "glab", "--hostname", "{host}"],
        variables: &[
            ("GITLAB_HOST", "{host}"),
            ("GITLAB_TOKEN", "{placeholder}"),
            ("GLAB_CONFIG_DIR", "{work}"),
            ("GLAB_CHECK_UPDATE", "false"),
            ("GLAB_SEND_TELEMETRY", "false"),
        ],
        without: &[
            "GITLAB_ACCESS_TOKEN",
            "OAUTH_TOKEN",
            "GL_HOST",
            "GITLAB_URI",
            "GITLAB_API_HOST",
        ],
        at: Some("/api/v4/glab"),
        ..NOTHING
    },
    Client {
        name: "gcloud",
        program: "gcloud",
        arguments: &["projects", "list", "--quiet"],
        variables: &[
            ("CLOUDSDK_CONFIG", "{work}"),
            ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "{work}/token"),
            (
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER",
                "{url}/",
            ),
            ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "1"),
        ],
        file: Some(("token", "{placeholder}")),
        without: &["CLOUDSDK_AUTH_ACCESS_TOKEN", "CLOUDSDK_PROXY_TYPE"],
        ..NOTHING
    },
    Client {
        name: "az",
        program: "az",
        arguments: &[
            "rest",
            "--method=get",
            "--url={url}",
            "--skip-authorization-header",
            "--headers",
            "Authorization=Bearer {placeholder}",
        ],
        variables: &[
            ("AZURE_CONFIG_DIR", "{work}"),
            ("AZURE_CORE_COLLECT_TELEMETRY", "false"),
        ],
        ..NOTHING
    },
    Client {
        name: "psql",
        program: "psql",
        proof: Proof::None,
        ..NOTHING
    },
];
