//! Spans at a collector, and the context that clients send.

use serde_json::Value;

use crate::eventually;
use crate::upstream::{Stub, ok};
use crate::world::{World, one_upstream_with};

const HEADER: &str = "X-Api-Key: <<pat>>";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn attribute(span: &Value, name: &str) -> Option<Value> {
    let mut attributes = span["attributes"].as_array().expect("attributes").iter();
    let found = attributes.find(|attribute| attribute["key"] == name)?;
    let value = found["value"].as_object().expect("a value");
    value.values().next().cloned()
}

#[tokio::test]
async fn a_request_is_a_span_in_the_trace_of_its_client() {
    let collector = Stub::plain().await;
    collector.answer(ok("{}"));
    let builder = World::builder().set("traces.url", format!("http://{}", collector.addr));
    let (world, stub) = one_upstream_with(builder).await;
    let context = format!("traceparent: 00-{TRACE}-{PARENT}-01");
    let unsampled = "traceparent: 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let mut tunnel = world.tunnel().await;
    for headers in [&[HEADER, &context][..], &[HEADER], &[HEADER, unsampled]] {
        assert_eq!(tunnel.get("/secret-path", headers).await.status, 200);
    }
    // It is passed on as it came, and none is made up.
    let sent: Vec<_> = stub
        .take()
        .iter()
        .map(|seen| seen.header("traceparent"))
        .collect();
    let expected = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(sent[0], Some(expected));
    assert_eq!(sent[1], None);

    let mut spans = Vec::new();
    eventually("the spans", || {
        for request in collector.take() {
            assert_eq!(request.path(), "/v1/traces");
            assert_eq!(
                request.header("content-type").as_deref(),
                Some("application/json")
            );
            let body: Value = serde_json::from_slice(&request.body).expect("JSON");
            let resource = &body["resourceSpans"][0];
            assert_eq!(resource["resource"]["attributes"][0]["key"], "service.name");
            let some = resource["scopeSpans"][0]["spans"]
                .as_array()
                .expect("spans");
            spans.extend(some.clone());
        }
        (spans.len() >= 2).then_some(())
    })
    .await;
    assert_eq!(spans.len(), 2, "what is not sampled is not sent");
    let span = spans
        .iter()
        .find(|span| span["traceId"] == TRACE)
        .expect("the span");
    assert_eq!(span["parentSpanId"], PARENT);
    assert_eq!(span["spanId"].as_str().map(str::len), Some(16));
    assert_ne!(span["spanId"], PARENT);
    assert_eq!((&span["name"], &span["kind"]), (&"GET".into(), &3.into()));
    let time = |name: &str| {
        span[name]
            .as_str()
            .and_then(|time| time.parse::<u128>().ok())
    };
    assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
    assert_eq!(
        attribute(span, "http.response.status_code"),
        Some("200".into())
    );
    assert_eq!(attribute(span, "egret.action"), Some("act-1".into()));
    let request = attribute(span, "egret.request").expect("the request");
    let used = world
        .ledger()
        .into_iter()
        .filter(|line| line["event"] == "use");
    assert!(used.into_iter().any(|line| line["request"] == request));
    let all = serde_json::to_string(&spans).expect("text");
    assert!(
        !all.contains("secret-path") && !all.contains(crate::world::VALUE),
        "{all}"
    );
}

#[tokio::test]
async fn a_collector_that_is_down_holds_nothing_up() {
    let builder = World::builder().set("traces.url", "http://127.0.0.1:9");
    let (world, _stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/v1", &[HEADER]).await.status, 200);
    eventually("that it is said", || {
        world
            .log()
            .contains("the collector of traces takes no spans")
            .then_some(())
    })
    .await;
    assert_eq!(tunnel.get("/v1", &[HEADER]).await.status, 200);
}
