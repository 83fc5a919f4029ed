//! Sandboxes: all that a program on another machine needs to use the proxy, in one answer.

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::answer::Answer;
use super::inputs::{Action, ProxyAddress, SandboxPath};
use super::request::{Json, message};
use super::tokens::{PresentedClient, end, minted};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::environment::inherited::Inherited;
use crate::environment::proxy_access::{Login, ProxyAccess};
use crate::environment::sandbox::{self, Sandbox, SandboxFile};
use crate::environment::trust::TrustFiles;
use crate::environment::variables;
use crate::identity::ActionRequest;
use crate::substitution::slug::Slug;
use crate::vault::people::BundleId;
use crate::views;

/// Where a sandbox keeps the files, if the request does not say.
const USUAL_DIRECTORY: &str = "/etc/egret";

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(create_sandbox))
}

message! {
    /// A sandbox that is to use the proxy.
    SandboxInput {
        /// The action that it carries out.
        action: Action as String,
        /// Which execution of the action it is.
        run: Option<String> as Option<String>,
        /// The only credentials that it may use; any if it is missing.
        slugs: Option<Vec<Slug>> as Option<Vec<String>>,
        /// Owner and name of the only bundle that it may use.
        bundle: Option<BundleId> as Option<String>,
        /// How long its token works, in seconds; 900 if it is missing.
        ttl: Option<u64> as Option<u64>,
        /// Host and port at which the sandbox reaches the proxy; where the proxy listens if it is
        /// missing.
        proxy: Option<ProxyAddress> as Option<String>,
        /// The directory in the sandbox for the files, an absolute path; `/etc/egret` if it is missing.
        directory: Option<SandboxPath> as Option<String>,
    }
}

/// Make a token for a sandbox, with all that it needs to use the proxy
///
/// An orchestrator asks with its client token as the bearer. The answer has the token, the certificate
/// of the authority, and the variables with the files that they name: set the one and write the other,
/// and no command of Egret is needed in the sandbox.
#[utoipa::path(post, path = "/sandboxes", tag = "tokens", request_body = SandboxInput,
    security(("client_token" = [])),
    responses((status = CREATED, body = views::Sandbox)))]
async fn create_sandbox(
    PresentedClient(client): PresentedClient,
    State(context): State<AdminContext>,
    Json(input): Json<SandboxInput>,
) -> Result<Answer, AdminProblem> {
    let expires = end(&context, &client, input.ttl)?;
    let request = ActionRequest {
        action: &input.action.0,
        run: input.run.as_deref(),
        slugs: input.slugs.as_deref(),
        bundle: input.bundle.as_ref(),
        expires,
    };
    let minted = minted(&client, request)?;
    let login = Login {
        action: input.action.0.clone(),
        token: Zeroizing::new(minted.token.to_string()),
    };
    let access = match input.proxy {
        Some(ProxyAddress { host, port }) => ProxyAccess::named(host, port, Some(login)),
        None => ProxyAccess::at(context.state().proxy, Some(login)),
    };
    let directory = input
        .directory
        .map_or_else(|| USUAL_DIRECTORY.into(), |path| path.0);
    let address = access.authority();
    let url = access.url();
    let (sandbox, authority) = gather(&context, access, directory).await?;
    let view = views::Sandbox {
        id: minted.id.as_str().to_owned(),
        token: minted.token.to_string(),
        expires: views::rfc3339(expires),
        address,
        proxy: url,
        authority,
        set: sandbox.set.into_iter().collect(),
        unset: sandbox.unset.into_iter().map(str::to_owned).collect(),
        files: sandbox.files.into_iter().map(file).collect(),
    };
    Ok(Answer::ok(&view).newly_made().closing())
}

fn file(file: SandboxFile) -> views::SandboxFile {
    match String::from_utf8(file.content) {
        Ok(content) => views::SandboxFile {
            path: file.path,
            encoding: "text",
            content,
        },
        Err(error) => views::SandboxFile {
            path: file.path,
            encoding: "base64",
            content: STANDARD.encode(error.as_bytes()),
        },
    }
}

/// Variables and files, and the certificate of the authority.
async fn gather(
    context: &AdminContext,
    access: ProxyAccess,
    directory: std::path::PathBuf,
) -> Result<(Sandbox, views::SandboxAuthority), AdminProblem> {
    let settings = context.settings();
    let gathering = tokio::task::spawn_blocking(move || {
        let config = &settings.config;
        let ca = &config.tls.ca_cert;
        let trust = TrustFiles::write(&config.data_dir, ca, &Inherited::new())?;
        let direct = variables::direct(config, &[]);
        let sandbox = sandbox::of(&access, &trust, &directory, &direct)?;
        let pem = std::fs::read_to_string(ca)?;
        Ok::<_, std::io::Error>((sandbox, pem))
    });
    let gathered = gathering
        .await
        .map_err(|_| AdminProblem::new(Trouble::Internal))?;
    let (sandbox, pem) = gathered.map_err(|error| {
        tracing::error!(%error, "the files of a sandbox cannot be gathered");
        AdminProblem::new(Trouble::Internal)
    })?;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
    let certificate = certificate.map_err(|_| AdminProblem::new(Trouble::Internal))?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
    let sha256 = digest.as_ref().iter();
    let authority = views::SandboxAuthority {
        sha256: sha256.map(|byte| format!("{byte:02x}")).collect(),
        pem,
    };
    Ok((sandbox, authority))
}
