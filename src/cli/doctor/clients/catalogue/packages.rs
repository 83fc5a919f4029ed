//! What fetches packages, from a registry of our choice.

use crate::cli::doctor::clients::client::{Client, NOTHING, Proof};
use crate::cli::doctor::clients::outcome::Outcome;

/// Where Maven looks for everything, and with what password.
const MAVEN: &str = "<settings><mirrors><mirror><id>doctor</id><mirrorOf>*</mirrorOf><url>{url}</url></mirror>\
    </mirrors><servers><server><id>doctor</id><username>key</username><password>{xml}</password></server>\
    </servers></settings>\n";
/// Has Gradle look for a library of this script, before it looks at a project.
const GRADLE: &str = "initscript {\n    \
    repositories { maven {\n        url '{url}'\n        \
        credentials {\n            username 'key'\n            password '{placeholder}'\n        }\n    } }\n    \
    dependencies { classpath 'egret.doctor:nothing:1' }\n}\n";

pub(super) const ALL: &[Client] = &[
    Client {
        name: "pip",
        program: "pip",
        arguments: &[
            "download",
            "--no-deps",
            "--no-cache-dir",
            "--retries",
            "0",
            "--timeout",
            "20",
            "--disable-pip-version-check",
            "--dest",
            "{work}",
            "--index-url",
            "https://key:{encoded}@{host}/pip",
            "egret-doctor",
        ],
        ..NOTHING
    },
    Client {
        name: "npm",
        program: "npm",
        arguments: &[
            "view",
            "egret-doctor",
            "--registry",
            "{url}/",
            "--fetch-retries=0",
            "--//{host}/npm/:_authToken={placeholder}",
            "--cache",
            "{work}/npm",
        ],
        ..NOTHING
    },
    Client {
        name: "cargo",
        program: "cargo",
        arguments: &["search", "egret-doctor", "--registry", "doctor"],
        variables: &[
            ("CARGO_REGISTRIES_DOCTOR_INDEX", "sparse+{url}/"),
            ("CARGO_NET_RETRY", "0"),
        ],
        // It reads the registry's settings first, and shows no key for them.
        proof: Proof::Request,
        ..NOTHING
    },
    Client {
        name: "uv",
        program: "uv",
        arguments: &[
            "pip",
            "install",
            "--no-config",
            "--no-cache",
            "--no-deps",
            "--target",
            "{work}/uv",
            "--default-index",
            "https://key:{encoded}@{host}/uv/",
            "egret-doctor",
        ],
        variables: &[
            ("UV_HTTP_TIMEOUT", "20"),
            ("UV_HTTP_RETRIES", "0"),
            ("UV_PYTHON_DOWNLOADS", "never"),
        ],
        without: &[
            "UV_INDEX",
            "UV_EXTRA_INDEX_URL",
            "UV_OFFLINE",
            "UV_FIND_LINKS",
        ],
        remedies: &[(
            Outcome::DoesNotTrustTheCa,
            "give it SSL_CERT_FILE, which `egret run` sets, or --native-tls with the CA in the system's store",
        )],
        ..NOTHING
    },
    Client {
        name: "pnpm",
        program: "pnpm",
        // `pnpm view` has npm ask.
        arguments: &[
            "--dir",
            "{work}",
            "add",
            "egret-doctor",
            "--registry={url}/",
            "--config.fetch-retries=0",
            "--config.//{host}/pnpm/:_authToken={placeholder}",
        ],
        ..NOTHING
    },
    Client {
        name: "Maven",
        program: "mvn",
        arguments: &[
            "-B",
            "-s",
            "settings.xml",
            "-gs",
            "settings.xml",
            "-Dmaven.repo.local={work}/repository",
            "egret.doctor:doctor-maven-plugin:1:help",
        ],
        file: Some(("settings.xml", MAVEN)),
        without: &["MAVEN_ARGS"],
        ..NOTHING
    },
    Client {
        name: "Gradle",
        program: "gradle",
        arguments: &[
            "--no-daemon",
            "-q",
            "--init-script",
            "doctor.gradle",
            "help",
        ],
        variables: &[("GRADLE_USER_HOME", "{work}/home")],
        file: Some(("doctor.gradle", GRADLE)),
        ..NOTHING
    },
    Client {
        name: "helm",
        program: "helm",
        arguments: &[
            "repo",
            "add",
            "egret-doctor",
            "{url}",
            "--username=key",
            "--password={placeholder}",
        ],
        variables: &[
            ("HELM_CONFIG_HOME", "{work}/config"),
            ("HELM_CACHE_HOME", "{work}/cache"),
            ("HELM_DATA_HOME", "{work}/data"),
            ("HELM_REPOSITORY_CONFIG", "{work}/repositories.yaml"),
            ("HELM_REPOSITORY_CACHE", "{work}/repository"),
        ],
        ..NOTHING
    },
    Client {
        name: "docker",
        program: "docker",
        // The program asks the registry itself for this; what it pulls, its daemon asks for.
        arguments: &["manifest", "inspect", "{host}/docker/image:1"],
        variables: &[("DOCKER_CONFIG", "{work}")],
        file: Some((
            "config.json",
            "{\"auths\":{\"{host}\":{\"auth\":\"{basic}\"}}}\n",
        )),
        at: Some("/v2/docker"),
        remedies: &[(
            Outcome::GoesRoundTheProxy,
            "run it with `egret run --isolate`; what its daemon pulls goes through the daemon's own proxy settings",
        )],
        ..NOTHING
    },
];
