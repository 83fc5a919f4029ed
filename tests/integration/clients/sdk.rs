//! SDKs that assistants use: openai, anthropic, and uploads by boto3.

use serde_json::json;

use super::{installed, text};
use crate::needs::{Need, needs};
use crate::upstream::{Step, ok};
use crate::wire::Request;
use crate::world::{HOST, Output, VALUE, World, one_upstream};

async fn python(world: &World, script: &str) -> Output {
    let interpreter = installed("venv/bin/python");
    let args = ["run", "--action", "sdk", "--", text(&interpreter), "-c"];
    world.run(&[&args, &[script][..]].concat()).await
}

fn json_answer(body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
    format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn events(events: &[serde_json::Value]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let events: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
    format!("{head}{events}data: [DONE]\n\n").into_bytes()
}

async fn save_key(world: &World) {
    let limits = ["--host", HOST, "--in", "header"];
    world.save("openai-key", VALUE, &limits).await;
}

#[tokio::test]
async fn openai_with_a_placeholder_as_its_key() {
    needs!(Need::Python);
    let (world, stub) = one_upstream().await;
    save_key(&world).await;
    let choice = |key: &str| json!({"index": 0, key: {"role": "assistant", "content": "hello"}, "finish_reason": "stop"});
    let answer = |object: &str, key: &str| json!({"id": "c", "object": object, "created": 1, "model": "m", "choices": [choice(key)]});
    let whole = json_answer(&answer("chat.completion", "message"));
    let stream = events(&[answer("chat.completion.chunk", "delta")]);
    stub.serve(move |request| {
        let streams = request.body.windows(13).any(|w| w == b"\"stream\":true");
        let steps = match streams {
            true => vec![Step::Send(stream.clone()), Step::Close],
            false => vec![Step::Send(whole.clone())],
        };
        async move { steps }
    });
    let script = r#"
import openai
client = openai.OpenAI(base_url="https://api.example.test/v1", api_key="<<openai-key>>", max_retries=0)
messages = [{"role": "user", "content": "what does cat <<EOF do?"}]
answer = client.chat.completions.create(model="m", messages=messages)
assert answer.choices[0].message.content == "hello", answer
stream = client.chat.completions.create(model="m", messages=messages, stream=True)
assert "".join(c.choices[0].delta.content for c in stream) == "hello"
try:
    client.with_options(api_key="<<no-such-key>>").chat.completions.create(model="m", messages=messages)
    raise SystemExit("not refused")
except openai.APIStatusError as refused:
    assert refused.status_code == 424, refused
"#;
    python(&world, script).await.ok();
    let seen = stub.take();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!(request.target, "/v1/chat/completions");
        let bearer = format!("Bearer {VALUE}");
        assert_eq!(request.header("authorization"), Some(bearer));
        let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let content = &body["messages"][0]["content"];
        assert_eq!(content, "what does cat <<EOF do?");
    }
}

#[tokio::test]
async fn anthropic_with_a_placeholder_as_its_key() {
    needs!(Need::Python);
    let (world, stub) = one_upstream().await;
    save_key(&world).await;
    stub.answer(json_answer(&json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn",
        "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
    })));
    let script = r#"
import anthropic
client = anthropic.Anthropic(base_url="https://api.example.test", api_key="<<openai-key>>", max_retries=0)
messages = [{"role": "user", "content": "hi"}]
answer = client.messages.create(model="m", max_tokens=9, messages=messages)
assert answer.content[0].text == "hello", answer
try:
    client.with_options(api_key="<<no-such-key>>").messages.create(model="m", max_tokens=9, messages=messages)
    raise SystemExit("not refused")
except anthropic.APIStatusError as refused:
    assert refused.status_code == 424, refused
"#;
    python(&world, script).await.ok();
    let request = stub.take_one();
    assert_eq!(request.target, "/v1/messages");
    let bearer = format!("Bearer {VALUE}");
    assert_eq!(request.header("authorization"), Some(bearer));
}

/// The beginning of every S3 script. The secret key is used to sign and is never sent.
const S3: &str = r#"
import io, boto3, botocore.config, botocore.exceptions
def client(key_id="AKIDEXAMPLE"):
    return boto3.client(
        "s3", endpoint_url="https://api.example.test", region_name="us-east-1",
        aws_access_key_id=key_id, aws_secret_access_key="only-signs-and-never-travels",
        config=botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}))
def refused(ask, code):
    try:
        ask()
    except botocore.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPHeaders"]["egret-error"] == code, error.response
    else:
        raise SystemExit("not refused")
"#;

#[tokio::test]
async fn boto3_uploads_arrive_as_they_were_signed() {
    needs!(Need::Python);
    let (world, stub) = one_upstream().await;
    stub.answer(ok(""));
    let script = format!(
        r#"{S3}
for number, options in enumerate([{{}}, {{"ContentType": "text/plain"}}, {{"ContentType": "application/json"}}]):
    client().put_object(Bucket="b", Key=f"bytes-{{number}}", Body=b'{{"a": "cat <<EOF"}}', **options)
    client().put_object(Bucket="b", Key=f"file-{{number}}", Body=io.BytesIO(b"x" * 3000000), **options)
"#
    );
    python(&world, &script).await.ok();
    let seen = stub.take();
    assert_eq!(seen.len(), 6);
    for request in &seen {
        let small = request.target.starts_with("/b/bytes-");
        let data = match small {
            true => br#"{"a": "cat <<EOF"}"#.to_vec(),
            false => vec![b'x'; 3_000_000],
        };
        assert_eq!(header(request, "content-encoding"), "aws-chunked");
        assert_eq!(header(request, "x-amz-trailer"), "x-amz-checksum-crc32");
        let length = header(request, "x-amz-decoded-content-length");
        assert_eq!(length, data.len().to_string());
        let signed = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/";
        assert!(header(request, "authorization").starts_with(signed));
        let (uploaded, trailer) = aws_chunks(&request.body);
        assert!(uploaded == data, "{}", request.target);
        assert!(trailer.starts_with("x-amz-checksum-crc32:"), "{trailer}");
    }
}

#[tokio::test]
async fn boto3_uploads_that_would_be_changed_are_refused() {
    needs!(Need::Python);
    let (world, stub) = one_upstream().await;
    let script = format!(
        r#"{S3}
for body in [b"key = <<pat>>", io.BytesIO(b"x" * 3000000 + b"<<pat>>")]:
    refused(lambda: client().put_object(Bucket="b", Key="k", Body=body, ContentType="text/plain"), "request_signed")
refused(lambda: client("<<pat>>").put_object(Bucket="b", Key="k", Body=b"x"), "request_signed")
"#
    );
    python(&world, &script).await.ok();
    assert_eq!(stub.take().len(), 0, "no upload came to its end");
    let bytes = stub.bytes();
    crate::leak::assert_absent(
        "the upstream",
        &bytes,
        &crate::leak::forms(VALUE.as_bytes()),
    );
}

fn header(request: &Request, name: &str) -> String {
    request
        .header(name)
        .unwrap_or_else(|| panic!("no {name}: {request:?}"))
}

/// Decodes an `aws-chunked` body: its data, and what follows the last chunk.
fn aws_chunks(mut body: &[u8]) -> (Vec<u8>, String) {
    let mut data = Vec::new();
    loop {
        let end = memchr::memmem::find(body, b"\r\n").expect("a chunk line");
        let line = std::str::from_utf8(&body[..end]).expect("a chunk line");
        let length = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
        let length = length.expect("a chunk length");
        body = &body[end + 2..];
        if length == 0 {
            return (data, String::from_utf8_lossy(body).into_owned());
        }
        data.extend_from_slice(&body[..length]);
        body = body[length..]
            .strip_prefix(b"\r\n")
            .expect("the end of a chunk");
    }
}
