//! A request of somebody's own, through the proxy like any other and recorded like any other: *Test it* on
//! the page, and the probe of a value that waits for its promotion.

use std::time::Duration;

use super::context::AdminContext;
use super::problem::{AdminProblem, Trouble};
use crate::clock;
use crate::environment::request::{Answer, Request, SendError, send};
use crate::identity::ClientToken;
use crate::vault::client_proof::ClientProof;
use crate::vault::{Actor, ClientName, Principal};

/// How long the client of a trial may work, in seconds.
const LIFE: i64 = 60;
/// Longest wait for the answer: who asks is answered in 30 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request that can be sent.
pub struct Trial {
    /// What is sent. It holds placeholders and no values.
    pub request: Request,
    /// What the ledger calls it.
    pub action: String,
    /// Whether it uses the version that waits for its promotion.
    pub staged: bool,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The proxy or the connection to it failed.
    #[error("{0}")]
    Failed(#[from] SendError),
    /// It took too long.
    #[error("it did not come in {} s", PATIENCE.as_secs())]
    Late,
}

/// Sends it for a client of `user` that is there for this request alone.
///
/// # Errors
/// When the user may have no client, or the store fails.
pub async fn try_it(
    context: &AdminContext,
    actor: &Actor,
    user: &Principal,
    trial: Trial,
) -> Result<Result<Answer, Unanswered>, AdminProblem> {
    let (context, actor, user) = (context.clone(), actor.clone(), user.clone());
    // In a task of its own: whoever asked and goes away leaves no client behind.
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
) -> Result<Result<Answer, Unanswered>, AdminProblem> {
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
        Ok::<_, AdminProblem>(tokio::time::timeout(PATIENCE, sent).await)
    };
    let sent = sent.await;
    registrar.remove_client(actor, &name).await?;
    Ok(match sent? {
        Ok(answer) => answer.map_err(Unanswered::from),
        Err(_) => Err(Unanswered::Late),
    })
}
