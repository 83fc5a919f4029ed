//! *Test it*: a request of the owner's own, through the proxy like any other, and recorded like any other.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use http::Method;

use super::facts::Asked;
use super::start::{self, METHODS, Said, TestForm};
use crate::admin::{AdminContext, AdminProblem, Trouble};
use crate::clock;
use crate::environment::request::{Answer, InvalidRequest, Request, send};
use crate::identity::ClientToken;
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout;
use crate::page::person::Person;
use crate::policy::grant;
use crate::vault::client_proof::ClientProof;
use crate::vault::rights::Right;
use crate::vault::{Actor, ClientName, Principal};

/// How long the client of a test may work, in seconds.
const LIFE: i64 = 60;
/// Longest wait for the answer: the page itself is answered in 30 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// A test that can be sent.
struct Trial {
    request: Request,
    /// What the ledger calls it.
    action: String,
    /// Whether it uses the version that waits for its promotion.
    staged: bool,
}

/// `POST …/test` with the fields of [`TestForm`].
pub(super) async fn send_one(
    State(context): State<AdminContext>,
    person: Person,
    Path((owner, slug)): Path<(String, String)>,
    fields: Fields,
) -> Result<Response, Failure> {
    let asked = Asked::of(&context, &person, &owner, &slug).await?;
    asked.demand(Right::Own)?;
    let typed = TestForm::typed(&fields);
    let mut wrong = Wrong::default();
    let mut page = start::page(&person, &asked);
    if let Some(trial) = read(&typed, &mut wrong) {
        page.said = Some(said(try_it(&context, &person, trial).await?));
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

fn said(answer: Result<Answer, String>) -> Said {
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

/// Sends it for a client that is there for this request alone.
async fn try_it(
    context: &AdminContext,
    person: &Person,
    trial: Trial,
) -> Result<Result<Answer, String>, Failure> {
    let (context, actor, user) = (context.clone(), person.actor(), person.name().clone());
    // In a task of its own: a browser that goes away leaves no client behind.
    let tried = tokio::spawn(async move { for_client(&context, &actor, &user, &trial).await });
    tried
        .await
        .map_err(|_| AdminProblem::new(Trouble::Internal))?
}

async fn for_client(
    context: &AdminContext,
    actor: &Actor,
    user: &Principal,
    trial: &Trial,
) -> Result<Result<Answer, String>, Failure> {
    let internal = || AdminProblem::new(Trouble::Internal);
    let token = ClientToken::generate().map_err(|_| internal())?;
    let hash = token.hash();
    let random: String = hash[..5].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = ClientName::parse(&format!("test-{random}")).map_err(|_| internal())?;
    let ca = context.settings().config.tls.ca_cert.clone();
    let pem = tokio::fs::read_to_string(ca)
        .await
        .map_err(|_| internal())?;
    let registrar = context.registrar();
    let (proof, end) = (ClientProof::Token(hash), clock::unix_seconds() + LIFE);
    registrar
        .add_client(actor, &name, user, proof, Some(end))
        .await?;
    let may_probe = if trial.staged {
        registrar.let_probe(actor, &name).await
    } else {
        Ok(())
    };
    let sent = async {
        may_probe?;
        let proxy = context.state().proxy;
        let sent = send(&trial.request, proxy, &trial.action, token.expose(), &pem);
        Ok::<_, Failure>(tokio::time::timeout(PATIENCE, sent).await)
    };
    let sent = sent.await;
    registrar.remove_client(actor, &name).await?;
    Ok(match sent? {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not come in {} s", PATIENCE.as_secs())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
