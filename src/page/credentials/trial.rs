//! *Test it*: a request of the owner's own, through the proxy like any other, and recorded like any other.

use axum::extract::{Path, State};
use axum::response::Response;
use http::Method;

use super::facts::Asked;
use super::start::{self, METHODS, Said, TestForm};
use crate::admin::AdminContext;
use crate::admin::trial::{Trial, Unanswered, try_it};
use crate::environment::request::{Answer, InvalidRequest, Request};
use crate::page::failure::Failure;
use crate::page::fields::Wrong;
use crate::page::layout;
use crate::page::visit::Sent;
use crate::policy::grant;
use crate::vault::rights::Right;

/// `POST …/test` with the fields of [`TestForm`].
pub(super) async fn send_one(
    State(context): State<AdminContext>,
    Path((owner, slug)): Path<(String, String)>,
    sent: Sent,
) -> Result<Response, Failure> {
    let Sent { person, fields } = sent;
    let asked = Asked::of(&context, &person, &owner, &slug).await?;
    asked.demand(Right::Own)?;
    let typed = TestForm::typed(&fields);
    let mut wrong = Wrong::default();
    let mut page = start::page(&person, &asked);
    if let Some(trial) = read(&typed, &mut wrong) {
        let (actor, user) = (person.actor(), person.name().clone());
        page.said = Some(said(try_it(&context, &actor, &user, trial).await?));
    }
    page.test = typed;
    page.wrong = wrong;
    Ok(if page.said.is_some() {
        layout::page(&page)
    } else {
        layout::refused(&page)
    })
}

/// The request that was asked for. What is wrong is said without what was typed.
fn read(typed: &TestForm, wrong: &mut Wrong) -> Option<Trial> {
    let method = typed.method.as_str();
    let method = METHODS.contains(&method).then(|| method.parse().ok());
    let method: Option<Method> = method.flatten();
    if method.is_none() {
        wrong.add("method", "Choose one of the methods.");
    }
    let action = grant::parse_action(&typed.action);
    let action = action.map_err(|error| wrong.add("action", error.to_string()));
    let header = Some(typed.header.clone()).filter(|header| !header.is_empty());
    let request = Request::new(&method?, &typed.url, header.into_iter().collect());
    let request = match typed.body.as_str() {
        "" => request,
        body => request.and_then(|request| request.with_body(&typed.media_type, body.to_owned())),
    };
    let request = request.map_err(|error| {
        let field = match error {
            InvalidRequest::Url | InvalidRequest::Target => "url",
            InvalidRequest::Field => "header",
            InvalidRequest::Body => "body",
        };
        wrong.add(field, error.to_string());
    });
    Some(Trial {
        request: request.ok()?,
        action: action.ok()?,
        staged: typed.staged,
    })
}

fn said(answer: Result<Answer, Unanswered>) -> Said {
    let (text, class) = match answer {
        Ok(Answer {
            code: Some(code), ..
        }) => (
            format!("Egret refused the request: {code}. The refusal is recorded."),
            "bad",
        ),
        Ok(Answer { status, .. }) => (
            format!("The answer has the status {status}. The use is recorded."),
            if status < 400 { "good" } else { "warn" },
        ),
        Err(error) => (format!("There was no answer: {error}."), "bad"),
    };
    Said { text, class }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::fields::Fields;

    fn form(body: &str) -> TestForm {
        TestForm::typed(&Fields::parse(body.as_bytes()))
    }

    #[test]
    fn what_is_wrong_with_a_test_is_said_at_its_field() {
        let at = "method=POST&url=https://a.example/&action=a";
        for (typed, field) in [
            ("method=TRACE&url=https://a.example/&action=a", "method"),
            ("method=GET&url=ftp://a.example/&action=a", "url"),
            ("method=GET&url=https://a.example/&action=", "action"),
            (&*format!("{at}&header=no colon"), "header"),
            (&*format!("{at}&body=x&media_type="), "header"),
            (
                &*format!("{at}&media_type=a/b&body={}", "x".repeat(70_000)),
                "body",
            ),
        ] {
            let mut wrong = Wrong::default();
            assert!(read(&form(typed), &mut wrong).is_none(), "{typed}");
            assert!(!wrong.of(field).is_empty(), "{field}");
        }
        let mut wrong = Wrong::default();
        let good = format!("{at}&header=A: b&media_type=text/plain&body=<<k>>&version=staged");
        let trial = read(&form(&good), &mut wrong).unwrap();
        assert!(trial.staged && wrong.is_empty());
    }
}
