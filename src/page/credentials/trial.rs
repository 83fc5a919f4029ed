//! *Test it*: a request of the owner's own, through the proxy like any other, and recorded like any other.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use http::Method;

use super::facts::Asked;
use super::start;
use crate::admin::{AdminContext, AdminProblem, Trouble};
use crate::clock;
use crate::environment::request::{Answer, Request, send};
use crate::identity::ClientToken;
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout;
use crate::page::person::Person;
use crate::vault::client_proof::ClientProof;
use crate::vault::rights::Right;
use crate::vault::{Actor, ClientName, Principal};

/// What the ledger calls the request.
const ACTION: &str = "test-it";
/// How long the client of a test may work, in seconds.
const LIFE: i64 = 60;
/// Longest wait for the answer: the page itself is answered in 30 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// `POST …/test` with `method` and `url`.
pub(super) async fn send_one(
    State(context): State<AdminContext>,
    person: Person,
    Path((owner, slug)): Path<(String, String)>,
    fields: Fields,
) -> Result<Response, Failure> {
    let asked = Asked::of(&context, &person, &owner, &slug).await?;
    asked.demand(Right::Own)?;
    let mut wrong = Wrong::default();
    let method = match fields.text("method") {
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        _ => Method::GET,
    };
    let url = fields.trimmed("url");
    let field = start::field(&asked.credential);
    let request = Request::new(&method, url, field.into_iter().collect());
    let said = match request {
        Ok(request) => said(try_it(&context, &person, request).await?),
        Err(error) => {
            wrong.add("url", error.to_string());
            String::new()
        }
    };
    let page = start::page(&person, &asked, url, said, &wrong);
    Ok(if wrong.is_empty() {
        layout::page(&page)
    } else {
        layout::refused(&page)
    })
}

fn said(answer: Result<Answer, String>) -> String {
    match answer {
        Ok(Answer {
            code: Some(code), ..
        }) => format!("Egret refused the request: {code}. The refusal is recorded."),
        Ok(Answer { status, .. }) => {
            format!("The answer has the status {status}. The use is recorded.")
        }
        Err(error) => format!("There was no answer: {error}."),
    }
}

/// Sends it for a client that is there for this request alone.
async fn try_it(
    context: &AdminContext,
    person: &Person,
    request: Request,
) -> Result<Result<Answer, String>, Failure> {
    let (context, actor, user) = (context.clone(), person.actor(), person.name().clone());
    // In a task of its own: a browser that goes away leaves no client behind.
    let tried = tokio::spawn(async move { for_client(&context, &actor, &user, &request).await });
    tried
        .await
        .map_err(|_| AdminProblem::new(Trouble::Internal))?
}

async fn for_client(
    context: &AdminContext,
    actor: &Actor,
    user: &Principal,
    request: &Request,
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
    let proxy = context.state().proxy;
    let sent = send(request, proxy, ACTION, token.expose(), &pem);
    let sent = tokio::time::timeout(PATIENCE, sent).await;
    registrar.remove_client(actor, &name).await?;
    Ok(match sent {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not come in {} s", PATIENCE.as_secs())),
    })
}
