//! The acceptance cases of `tests/corpus`, played against the binary.
//!
//! Every case of every group runs over HTTP/1.1 as it is written and, where HTTP/2 can express it,
//! over HTTP/2. What has a body is played again with every body streamed.

use std::path::{Path, PathBuf};

mod case;
mod judge;
mod matchers;
mod play;
mod script;
mod stage;
mod tamper;

use case::{Case, Forms, Level};
use script::Script;
use stage::Stage;

/// Cases of level `should` that ask for more than the reference promises. Like those of level
/// `stretch` they are played, and their results are recorded only.
const NOT_PROMISED: &[(&str, &str)] = &[(
    "scrub-partial-first-half",
    "half a value is none of the encoded forms that are searched for",
)];

/// How the requests of a group are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Each as its case says.
    AsWritten,
    /// Over HTTP/2, where HTTP/2 can express the request.
    Http2,
    /// As [`Mode::AsWritten`], but no body is held: its placeholders are found, authorised and
    /// recorded as it streams. Only requests with a body are played.
    Streamed,
    /// As [`Mode::Http2`], and streamed.
    StreamedHttp2,
}

impl Mode {
    fn is_streamed(self) -> bool {
        matches!(self, Self::Streamed | Self::StreamedHttp2)
    }

    fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::StreamedHttp2)
    }

    /// The name of its report.
    fn report(self, group: &str) -> String {
        let suffix = match self {
            Self::AsWritten => "",
            Self::Http2 => "-http2",
            Self::Streamed => "-streamed",
            Self::StreamedHttp2 => "-streamed-http2",
        };
        format!("{group}{suffix}")
    }
}

macro_rules! groups {
    ($($test:ident = $group:literal,)*) => {
        const GROUPS: &[&str] = &[$($group),*];
        mod as_written {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::play_group($group, super::Mode::AsWritten).await;
                }
            )*
        }
        mod over_http2 {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::play_group($group, super::Mode::Http2).await;
                }
            )*
        }
        mod streamed {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::play_group($group, super::Mode::Streamed).await;
                }
            )*
        }
        mod streamed_over_http2 {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::play_group($group, super::Mode::StreamedHttp2).await;
                }
            )*
        }
    };
}

groups! {
    crlf = "crlf",
    framing = "framing",
    grammar = "grammar",
    h2 = "h2",
    host = "host",
    ledger = "ledger",
    logs = "logs",
    methods = "methods",
    policy = "policy",
    proxy = "proxy",
    scrub_body = "scrub-body",
    scrub_header = "scrub-header",
    smuggling = "smuggling",
    subst_basic = "subst-basic",
    subst_body = "subst-body",
    subst_header = "subst-header",
    subst_path = "subst-path",
    subst_query = "subst-query",
    upstream_tls = "upstream-tls",
    websocket = "websocket",
}

#[test]
fn every_group_of_the_corpus_has_a_test() {
    let mut files: Vec<String> = std::fs::read_dir(directory().join("cases"))
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    files.sort();
    assert_eq!(files, GROUPS);
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn load(group: &str) -> Vec<Case> {
    let path = directory().join("cases").join(format!("{group}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{e}: {}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{e} in {}", path.display()))
}

fn load_forms() -> Forms {
    Forms::parse(&std::fs::read(directory().join("forms.json")).expect("forms.json"))
}

async fn play_group(group: &str, mode: Mode) {
    let forms = load_forms();
    let mut stage = Stage::new(mode);
    let mut report = Report::default();
    for case in load(group) {
        assert_eq!(case.group, group, "{} is in the wrong file", case.name);
        if mode.is_streamed() && !case.has_body() {
            continue;
        }
        let Some(script) = Script::of(&case, mode).await else {
            continue;
        };
        let world = stage.world_for(&case).await;
        let problems = judge::play_and_judge(world, &case, &script, &forms).await;
        report.played(&case, problems);
    }
    report.left_on_disk(stage.leaks(&forms));
    report.publish(&mode.report(group));
}

/// The results of a group.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    failures: Vec<String>,
    played: usize,
}

impl Report {
    fn played(&mut self, case: &Case, problems: Vec<String>) {
        self.played += 1;
        if problems.is_empty() {
            self.lines.push(format!("passed   {}", case.name));
            return;
        }
        let more_than_promised = NOT_PROMISED.iter().any(|(name, _)| *name == case.name);
        if case.level == Level::Stretch || more_than_promised {
            self.lines
                .push(format!("recorded {}: {}", case.name, problems.join("; ")));
            return;
        }
        let level = case.level;
        let text = format!(
            "FAILED   {} ({level:?}):\n    {}",
            case.name,
            problems.join("\n    ")
        );
        self.failures.push(text.clone());
        self.lines.push(text);
    }

    fn left_on_disk(&mut self, places: Vec<String>) {
        for place in places {
            self.failures
                .push(format!("after the group a value is in {place}"));
        }
    }

    /// Prints the report, writes it to the directory for test output, and fails the test if a case
    /// failed.
    fn publish(self, group: &str) {
        let text = self.lines.join("\n");
        println!("corpus {group}: {} played\n{text}", self.played);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus");
        std::fs::create_dir_all(&directory).expect("a directory for the report");
        std::fs::write(directory.join(format!("{group}.txt")), text + "\n")
            .expect("write the report");
        assert!(
            self.failures.is_empty(),
            "{} of {} cases of {group} failed:\n{}",
            self.failures.len(),
            self.played,
            self.failures.join("\n")
        );
    }
}
