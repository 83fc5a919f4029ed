//! What a test needs beside Rust, and what happens where this machine does not have it.
//!
//! The test is skipped, and one line on standard error says so: `skipped: NAME needs java`. With
//! `EGRET_TEST_REQUIRE_ALL=1`, which `.ci/test` sets after it has installed everything, a missing
//! program is a failure. A permission that this machine does not give cannot be installed: it is
//! reported as skipped in both cases.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Something that may be missing.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// A program on the `PATH`.
    Program(&'static str),
    /// git with its CGI program, which some distributions package separately.
    GitHttpBackend,
    /// A Java that runs a source file: a JDK of version 11 or later.
    Jdk,
    /// The Java libraries that `.ci/test` installs.
    JavaClients,
    /// Maven, with the plugin that deploys in a repository of its own, which `.ci/test` fills.
    MavenDeploy,
    /// The Python packages that `.ci/test` installs.
    Python,
    /// The Python packages with requirements of their own, which `.ci/test` installs.
    PythonServices,
    /// The Node and the npm packages that `.ci/test` installs.
    Node,
    /// An assistant that `.ci/test` installs: its program there.
    Assistant(&'static str),
    /// What fetches packages, which `.ci/test` installs: its program there.
    Packager(&'static str),
    /// The OpenID provider that `.ci/test` installs, and its Node.
    OpenIdProvider,
    /// Chromium, and the npm packages that drive it, which `.ci/test` installs.
    Browser,
    /// Firefox, and the npm package that drives it, which `.ci/test` installs.
    Firefox,
    /// git-lfs, which `.ci/test` installs.
    GitLfs,
    /// litewitness, which `.ci/test` installs.
    Litewitness,
    /// The clients of Go libraries, which `.ci/test` builds.
    GoPrograms,
    /// h2spec, which `.ci/test` installs.
    H2spec,
    /// The programs that check the files of `deploy/`, which `.ci/test` installs.
    Validators,
    /// schemathesis, which `.ci/test` installs.
    Schemathesis,
    /// What generates clients from the document of the API, which `.ci/test` installs, and its Node.
    Generators,
    /// The root file system of the image, which `.ci/test` builds.
    ImageRoot,
    /// The root certificates of the system.
    SystemRoots,
    /// Permission to trace the server and to read its memory.
    Tracing,
}

/// Returns from a test unless everything that it needs is there.
macro_rules! needs {
    ($($need:expr),+ $(,)?) => {
        $(
            if !$crate::needs::is_there($need) {
                return;
            }
        )+
    };
}
pub(crate) use needs;

/// Whether this machine has it. Where it does not, the running test is reported as skipped.
///
/// # Panics
/// When everything is required and a program is missing.
pub fn is_there(need: Need) -> bool {
    if need.is_met() {
        return true;
    }
    let is_required = std::env::var_os("EGRET_TEST_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(
        !is_required || !need.can_be_installed(),
        "{need} is missing; .ci/test installs it"
    );
    skipped(&need.to_string());
    false
}

/// Reports that the running test is skipped, or a part of it, for want of `what`.
pub fn skipped(what: &str) {
    static REPORT: OnceLock<Mutex<File>> = OnceLock::new();
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("skipped: {test} needs {what}\n");
    // `eprint!` is captured and shown for failures only; writing to the stream itself is not.
    let _ = std::io::stderr().write_all(line.as_bytes());
    let report = REPORT.get_or_init(|| Mutex::new(new_report()));
    let mut report = report.lock().expect("no test panics while it writes");
    report.write_all(line.as_bytes()).expect("write the report");
}

/// The list of what was skipped, which `.ci/test` counts. It begins empty in each run.
fn new_report() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped.txt");
    File::create(&path).unwrap_or_else(|error| panic!("{error}: {}", path.display()))
}

/// A file of the directory that `.ci/test` fills with clients: `clients` in the target directory,
/// or `EGRET_TEST_CLIENTS`.
pub fn client_file(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients");
    let directory = std::env::var_os("EGRET_TEST_CLIENTS").map_or(target, PathBuf::from);
    directory.join(path)
}

/// The root file system of the image that `.ci/test` builds.
pub fn image_root() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../image-root")
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Program(name) => is_on_path(name),
            Self::GitHttpBackend => has_http_backend(),
            Self::Jdk => has_java_compiler(),
            Self::JavaClients => client_file("java").exists(),
            Self::MavenDeploy => is_on_path("mvn") && client_file("maven.plugin").exists(),
            Self::Python => client_file("venv/bin/python").exists(),
            Self::PythonServices => client_file("services/bin/python").exists(),
            Self::Node => client_file("npm/node").exists(),
            Self::Assistant(program) => {
                client_file("assistants").join(program).exists()
                    && client_file("npm/node").exists()
                    && client_file("venv/bin/python").exists()
            }
            Self::Packager(program) => client_file(program).exists(),
            Self::OpenIdProvider => {
                client_file("openid/node_modules/oidc-provider").exists()
                    && client_file("npm/node").exists()
            }
            Self::Browser => {
                is_on_path("chromium") && client_file("npm/node_modules/playwright-core").exists()
            }
            Self::Firefox => {
                is_on_path("firefox-esr") && client_file("npm/node_modules/puppeteer-core").exists()
            }
            Self::GitLfs => is_on_path("git") && client_file("go/git-lfs").exists(),
            Self::Litewitness => client_file("go/litewitness").exists(),
            Self::GoPrograms => client_file("go/programs").exists(),
            Self::H2spec => client_file("go/h2spec").exists(),
            Self::Validators => client_file("deploy/bin/kubernetes-validate").exists(),
            Self::Generators => {
                client_file("api/bin/openapi-python-client").exists()
                    && client_file("generated/node_modules/openapi-typescript").exists()
                    && client_file("npm/node").exists()
            }
            Self::Schemathesis => client_file("api/bin/python").exists(),
            Self::ImageRoot => image_root().join("egret").exists(),
            Self::SystemRoots => !rustls_native_certs::load_native_certs().certs.is_empty(),
            Self::Tracing => rustix::process::geteuid().is_root() || may_make_namespace(),
        }
    }

    fn can_be_installed(self) -> bool {
        !matches!(self, Self::Tracing | Self::Assistant(_))
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program(name) => name,
            Self::GitHttpBackend => "git with git-http-backend",
            Self::Jdk => "java, of a JDK of version 11 or later",
            Self::JavaClients => "the Java libraries that .ci/test installs",
            Self::MavenDeploy => "mvn, and the plugins that .ci/test installs",
            Self::Python => "the Python packages that .ci/test installs",
            Self::PythonServices => "the Python clients of services that .ci/test installs",
            Self::Node => "the Node packages that .ci/test installs",
            Self::Assistant(program) | Self::Packager(program) => program,
            Self::OpenIdProvider => "the OpenID provider that .ci/test installs",
            Self::Browser => "Chromium and the npm packages that .ci/test installs",
            Self::Firefox => "Firefox and the npm package that .ci/test installs",
            Self::Litewitness => "litewitness, which .ci/test installs",
            Self::GitLfs => "git, and the git-lfs that .ci/test installs",
            Self::GoPrograms => "the clients of Go libraries that .ci/test builds",
            Self::H2spec => "the h2spec that .ci/test installs",
            Self::Validators => "the validators of deploy/ that .ci/test installs",
            Self::Generators => "openapi-python-client and openapi-typescript",
            Self::Schemathesis => "the schemathesis that .ci/test installs",
            Self::ImageRoot => "the root file system of the image that .ci/test builds",
            Self::SystemRoots => "the root certificates of the system",
            Self::Tracing => "permission to trace a process",
        })
    }
}

fn is_on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// The standard output of a program, if it can be started and succeeds.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let output = output.ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn has_http_backend() -> bool {
    output("git", &["--exec-path"]).is_some_and(|directory| {
        Path::new(directory.trim_end())
            .join("git-http-backend")
            .exists()
    })
}

fn has_java_compiler() -> bool {
    output("java", &["--list-modules"]).is_some_and(|modules| modules.contains("jdk.compiler@"))
}

/// Whether this user may make a user namespace, over whose processes they have every capability.
pub fn may_make_namespace() -> bool {
    output("unshare", &["--user", "--map-root-user", "true"]).is_some()
}
