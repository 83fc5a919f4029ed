//! The result of each check.

use serde::Serialize;

use crate::cli::output::Style;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// Nothing is wrong.
    Ok,
    /// Egret works, and less well than it could.
    Warning,
    /// Egret does not work, or not safely.
    Fault,
    /// The check could not be made.
    Unknown,
}

/// A check, and its result.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) detail: String,
    /// What corrects it.
    pub(super) remedy: Option<String>,
}

impl Finding {
    /// A check that found nothing wrong.
    pub(super) fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    /// The same with another result, and what corrects it.
    pub(super) fn with(self, verdict: Verdict, remedy: impl Into<String>) -> Self {
        Self {
            verdict,
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// A line for people, and a second one with what corrects it.
    pub(super) fn line(&self, style: Style) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => style.green("ok     "),
            Verdict::Warning => style.yellow("warning"),
            Verdict::Fault => style.red("fault  "),
            Verdict::Unknown => style.dim("unknown"),
        };
        let mut text = format!("{verdict}  {:12}  {}\n", self.check, self.detail);
        if let Some(remedy) = &self.remedy {
            text += &format!("{:23}→ {remedy}\n", "");
        }
        text
    }
}
