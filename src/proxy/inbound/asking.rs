//! A client that names what is not there is told where its owner saves it, and asks for it where the
//! operator allows that.

use crate::clock::unix_seconds;
use crate::config::AdminUrl;
use crate::error::{Code, Refusal};
use crate::policy::grant::HostPattern;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::substitution::slug::Slug;
use crate::vault::key_request::{AskedFor, KEPT, KeyRequest, readable_reason};

/// Says in a refusal for want of a credential where its owner saves it, and asks the owner, where the
/// operator allows that.
pub async fn ask(
    proxy: &Proxy,
    settings: &Settings,
    context: &RequestContext,
    mut refused: Refused,
) -> Refused {
    let Some(request) = wanted(context, &refused.refusal) else {
        return refused;
    };
    let page = settings.config.admin.page_url();
    let said = if settings.config.requests.on_refusal {
        asked(proxy, &request, page.as_ref()).await
    } else {
        page.map(|page| format!("its owner can save it at {}", form(&page, &request)))
    };
    if let Some(said) = said {
        let refusal = &mut refused.refusal;
        refusal.detail = format!("{said}. {}", refusal.detail).into();
    }
    refused
}

/// The credential that a refusal names, as it would be asked for.
fn wanted(context: &RequestContext, refusal: &Refusal) -> Option<KeyRequest> {
    if refusal.code != Code::CredentialNotFound {
        return None;
    }
    let slug = Slug::parse(refusal.slug.as_deref()?).ok()?;
    let caller = &context.caller;
    let now = unix_seconds();
    let reason = format!("{} {} for {}", context.method, context.path, caller.action);
    let place = refusal.location.as_deref();
    Some(KeyRequest {
        owner: caller.principal.clone(),
        client: caller.client.to_string(),
        slug,
        host: HostPattern::of(&context.destination),
        place: place.and_then(|place| place.parse().ok()),
        reason: readable_reason(&reason),
        asked: now,
        until: now.saturating_add(KEPT),
        is_declined: false,
        is_saved: false,
    })
}

/// Asks the owner; what the client is told of it.
async fn asked(proxy: &Proxy, request: &KeyRequest, page: Option<&AdminUrl>) -> Option<String> {
    Some(match proxy.vault.ask_key(request).await {
        Ok(AskedFor::Open(number)) => match page {
            Some(page) => {
                format!("its owner has been asked, and can save it at {page}/requests/{number}")
            }
            None => {
                format!("its owner has been asked, see `egret requests list` (number {number})")
            }
        },
        Ok(AskedFor::Declined) => "its owner was asked, and said no".to_owned(),
        Ok(AskedFor::TooMany) => {
            "its owner was not asked: this client asks for several credentials already".to_owned()
        }
        Err(error) => {
            tracing::warn!(%error, "a credential could not be asked for");
            return None;
        }
    })
}

/// The form for a new credential, filled in with what is wanted.
fn form(page: &AdminUrl, request: &KeyRequest) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("slug", request.slug.as_str());
    query.append_pair("hosts", &request.host.to_string());
    if let Some(place) = &request.place {
        query.append_pair("locations", &place.to_string());
    }
    format!("{page}/settings/credentials/new?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Principal;

    #[test]
    fn a_link_fills_the_form_in_and_nothing_breaks_out_of_it() {
        let request = KeyRequest {
            owner: Principal::parse("alice").unwrap(),
            client: "ci".to_owned(),
            slug: Slug::parse("maps").unwrap(),
            host: "http://a.example:8080".parse().unwrap(),
            place: "query:k&hosts=evil.example".parse().ok(),
            reason: String::new(),
            asked: 0,
            until: 1,
            is_declined: false,
            is_saved: false,
        };
        let link = form(&AdminUrl::local(7071), &request);
        let (page, query) = link.split_once('?').unwrap();
        assert_eq!(page, "http://egret.localhost:7071/settings/credentials/new");
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let hosts = pairs.iter().filter(|(name, _)| name == "hosts");
        assert_eq!(hosts.count(), 1, "{link}");
        assert_eq!(pairs[1].1, "http://a.example:8080");
    }
}
