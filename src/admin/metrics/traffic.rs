//! What goes through the proxy.

use std::sync::atomic::Ordering::Relaxed;

use super::page::Page;
use crate::admin::state::AdminState;
use crate::error::Code;
use crate::proxy::runtime::measures::{Handshake, Kind, Measures, Place, Side, measures};
use crate::proxy::runtime::origin::OfDestination;

/// Requests, connections, uses, findings and upstreams, without the name of anything.
pub(super) fn write(page: &mut Page, state: &AdminState) {
    requests(page, state);
    let measures = measures();
    connections(page, measures);
    places(page, measures);
    upstream(page, measures);
}

fn requests(page: &mut Page, state: &AdminState) {
    let counters = &state.counters;
    let name = "egret_requests_total";
    let help = "Requests answered, by how: forwarded, tunnel, or the code.";
    page.family(name, "counter", help);
    let own = [
        ("forwarded", counters.forwarded()),
        ("tunnel", counters.tunnels()),
    ];
    let refused = counters.refused();
    let refused = refused.map(|(code, count)| (code.as_str(), count));
    for (how, count) in own.into_iter().chain(refused) {
        page.sample(name, &[("outcome", how)], count);
    }
    page.counter(
        "egret_requests_observed_total",
        "Requests let through because their destination is only observed.",
        counters.observed(),
    );
}

fn connections(page: &mut Page, measures: &Measures) {
    let name = "egret_connections_opened_total";
    let help = "Connections and what runs in them, by kind.";
    page.family(name, "counter", help);
    for (kind, count) in Kind::ALL.iter().zip(measures.opened.all()) {
        page.sample(name, &[("kind", kind.as_str())], count);
    }
    let name = "egret_connections_open";
    page.family(name, "gauge", "Those that are open, by kind.");
    for (kind, count) in Kind::ALL.iter().zip(measures.open_now()) {
        page.sample(name, &[("kind", kind.as_str())], count);
    }
    let name = "egret_tls_handshakes_total";
    let help = "TLS handshakes with clients and upstreams, by how they ended.";
    page.family(name, "counter", help);
    for (side, counts) in Side::ALL.iter().zip(&measures.handshakes) {
        for (how, count) in Handshake::ALL.iter().zip(counts.all()) {
            let labels = [("side", side.as_str()), ("result", how.as_str())];
            page.sample(name, &labels, count);
        }
    }
}

fn places(page: &mut Page, measures: &Measures) {
    let families = [
        (
            "egret_substitutions_total",
            "Uses of credentials on record, by place in the request.",
            &measures.substitutions,
        ),
        (
            "egret_scrubbed_total",
            "Values taken out of answers, by place in the answer.",
            &measures.scrubbed,
        ),
        (
            "egret_guard_hits_total",
            "Requests that carried a stored value themselves, by place in the request.",
            &measures.guarded,
        ),
    ];
    for (name, help, counts) in families {
        page.family(name, "counter", help);
        for (place, count) in Place::ALL.iter().zip(counts.all()) {
            page.sample(name, &[("place", place.as_str())], count);
        }
    }
    let name = "egret_first_uses_total";
    let help = "Uses of which something was new, by what had never used the credential before.";
    page.family(name, "counter", help);
    for (aspect, count) in measures.first_uses() {
        page.sample(name, &[("aspect", aspect)], count);
    }
}

fn upstream(page: &mut Page, measures: &Measures) {
    let name = "egret_upstream_seconds";
    let help = "From the start of a request to its destination until the head of the answer.";
    page.family(name, "histogram", help);
    page.histogram(name, &[], &measures.upstream.latency.snapshot());
    let name = "egret_upstream_failures_total";
    let help = "Requests that their destination did not answer, by code.";
    page.family(name, "counter", help);
    for (code, count) in Code::ALL.iter().zip(measures.failures.all()) {
        // Most codes are about requests that were not sent.
        if count > 0 || code.as_str().starts_with("upstream_") {
            page.sample(name, &[("code", code.as_str())], count);
        }
    }
}

/// The same by credential and by destination.
pub(super) fn write_named(page: &mut Page) {
    let measures = measures();
    credentials(page, measures);
    let mut destinations: Vec<_> = measures.destinations.each();
    destinations.push((["other", ""], measures.destinations.others()));
    let name = "egret_destination_seconds";
    let help = "The same as egret_upstream_seconds, by destination. `other` is all to which no \
        credential was sent, or too many.";
    page.family(name, "histogram", help);
    for ([destination, _], of) in &destinations {
        let labels = [("destination", *destination)];
        page.histogram(name, &labels, &of.latency.snapshot());
    }
    let name = "egret_destination_failures_total";
    let help = "Requests that their destination did not answer, by destination.";
    page.family(name, "counter", help);
    for ([destination, _], OfDestination { failures, .. }) in &destinations {
        let labels = [("destination", *destination)];
        page.sample(name, &labels, failures.load(Relaxed));
    }
}

fn credentials(page: &mut Page, measures: &Measures) {
    let mut credentials: Vec<_> = measures.credentials.each();
    let others = measures.credentials.others();
    if others.substitutions.sum() > 0 {
        credentials.push((["other", "other"], others));
    }
    let name = "egret_credential_substitutions_total";
    let help = "Uses on record, by credential and place in the request.";
    page.family(name, "counter", help);
    for ([owner, slug], of) in credentials {
        for (place, count) in Place::ALL.iter().zip(of.substitutions.all()) {
            if count > 0 {
                let place = place.as_str();
                let labels = [("owner", owner), ("slug", slug), ("place", place)];
                page.sample(name, &labels, count);
            }
        }
    }
}
