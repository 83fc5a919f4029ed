//! Who reads a refusal: most clients throw away a body that is not in the form of their own protocol,
//! and leave their user with "424 status code (no body)".
//!
//! The request says what its client reads. The same words and the same code go into every form.

use bytes::Bytes;
use http::HeaderMap;

/// The form in which a client reads errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// A problem document (RFC 9457), with the member `error` that SDKs of JSON APIs look for.
    #[default]
    Json,
    /// The same, with `error` as a text: package managers of JavaScript print it.
    JsonText,
    /// An answer of nothing but gRPC trailers, in this media type.
    Grpc(&'static str),
    /// An error of the Connect protocol, as its unary calls have it.
    ConnectUnary,
    /// The same, as the last envelope of a stream, in this media type.
    ConnectStream(&'static str),
    /// XML, as S3 and what is compatible with it have it, and Azure Storage.
    StorageXml,
    /// XML of the AWS query protocol.
    AwsQuery,
    /// JSON of the AWS protocols.
    AwsJson,
    /// JSON of Git LFS.
    GitLfs,
    /// A `Status` of Kubernetes.
    Kubernetes,
    /// Errors of a registry (OCI distribution).
    Registry,
    /// Errors of GraphQL.
    GraphQl,
    /// Plain text, which Git shows.
    Text,
}

/// What a field of a request says of its client.
struct Row {
    field: &'static str,
    /// How the value begins, in lower case.
    begins: &'static str,
    audience: Audience,
}

const fn row(field: &'static str, begins: &'static str, audience: Audience) -> Row {
    Row {
        field,
        begins,
        audience,
    }
}

/// The first row that fits counts.
const TABLE: [Row; 37] = [
    row(
        "content-type",
        "application/grpc-web-text",
        Audience::Grpc("application/grpc-web-text"),
    ),
    row(
        "content-type",
        "application/grpc-web",
        Audience::Grpc("application/grpc-web"),
    ),
    row(
        "content-type",
        "application/grpc",
        Audience::Grpc("application/grpc"),
    ),
    row(
        "content-type",
        "application/connect+json",
        Audience::ConnectStream("application/connect+json"),
    ),
    row(
        "content-type",
        "application/connect+",
        Audience::ConnectStream("application/connect+proto"),
    ),
    row("connect-protocol-version", "1", Audience::ConnectUnary),
    row("x-amz-target", "", Audience::AwsJson),
    row("content-type", "application/x-amz-json", Audience::AwsJson),
    row("authorization", "aws4-", Audience::StorageXml),
    row("authorization", "aws ", Audience::StorageXml),
    row("authorization", "goog4-", Audience::StorageXml),
    row("x-amz-content-sha256", "", Audience::StorageXml),
    row("x-amz-date", "", Audience::StorageXml),
    row("x-ms-version", "", Audience::StorageXml),
    row("user-agent", "boto", Audience::StorageXml),
    row("user-agent", "aws-", Audience::StorageXml),
    row("user-agent", "minio", Audience::StorageXml),
    row("user-agent", "s3", Audience::StorageXml),
    row("user-agent", "azsdk-", Audience::StorageXml),
    row("accept", "application/vnd.git-lfs", Audience::GitLfs),
    row("user-agent", "git-lfs/", Audience::GitLfs),
    row("user-agent", "git/", Audience::Text),
    row("user-agent", "npm/", Audience::JsonText),
    row("user-agent", "pnpm/", Audience::JsonText),
    row("user-agent", "yarn/", Audience::JsonText),
    row("user-agent", "bun/", Audience::JsonText),
    row("user-agent", "kubectl/", Audience::Kubernetes),
    row("user-agent", "helm/", Audience::Kubernetes),
    row(
        "accept",
        "application/vnd.kubernetes.",
        Audience::Kubernetes,
    ),
    row("accept", "application/json;as=", Audience::Kubernetes),
    row("accept", "application/vnd.oci.", Audience::Registry),
    row("accept", "application/vnd.docker.", Audience::Registry),
    row("user-agent", "docker/", Audience::Registry),
    row(
        "accept",
        "application/graphql-response+json",
        Audience::GraphQl,
    ),
    row("accept", "application/xml", Audience::StorageXml),
    row("accept", "text/xml", Audience::StorageXml),
    row("accept", "text/plain", Audience::Text),
];

impl Audience {
    /// What the client of a request with these fields reads.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut search = Search::default();
        for (name, value) in headers {
            search.look(name.as_str(), value.as_bytes());
        }
        search.found()
    }

    /// The same, from a head of HTTP/1.1 that was checked.
    fn of_head(head: &[u8]) -> Self {
        let mut search = Search::default();
        // The first line is no field.
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                search.look(&name, value.trim_ascii());
            }
        }
        search.found()
    }
}

/// What is kept of a request so that a refusal can be written for its client. Nearly all requests are
/// not refused, so what the head says is looked up only then.
pub enum Reader<'a> {
    /// A head of HTTP/1.1, as it was checked.
    Head(&'a [u8]),
    /// No head was kept.
    Known(Audience),
}

impl<'a> Reader<'a> {
    /// Of the request with this head, whose fields are `headers`.
    pub fn of(raw: Option<&'a Bytes>, headers: &HeaderMap) -> Self {
        match raw {
            Some(raw) => Self::Head(raw),
            None => Self::Known(Audience::of(headers)),
        }
    }

    /// What its client reads.
    pub fn audience(&self) -> Audience {
        match self {
            Self::Head(head) => Audience::of_head(head),
            Self::Known(audience) => *audience,
        }
    }
}

/// Looks for the row that counts, one field after the other.
struct Search<'a> {
    best: usize,
    content_type: &'a [u8],
}

impl Default for Search<'_> {
    fn default() -> Self {
        Self {
            best: TABLE.len(),
            content_type: b"",
        }
    }
}

impl<'a> Search<'a> {
    /// Looks at a field whose name is in lower case.
    fn look(&mut self, name: &str, value: &'a [u8]) {
        if !is_in_table(name) {
            return;
        }
        if name == "content-type" {
            self.content_type = value;
        }
        let is_ordinary = match value {
            b"*/*" | b"application/json" => true,
            [b'B' | b'b', ..] => name == "authorization",
            _ => false,
        };
        if is_ordinary && name != "x-amz-target" {
            // No row begins like this.
            return;
        }
        let mut rows = TABLE[..self.best].iter();
        let fits = |row: &Row| row.field == name && begins_with(value, row.begins);
        self.best = rows.position(fits).unwrap_or(self.best);
    }

    fn found(&self) -> Audience {
        match TABLE.get(self.best).map(|row| row.audience) {
            // AWS has three protocols under one signature.
            Some(Audience::StorageXml) if is_json(self.content_type) => Audience::AwsJson,
            Some(Audience::StorageXml) if begins_with(self.content_type, FORM) => {
                Audience::AwsQuery
            }
            Some(audience) => audience,
            None => Audience::Json,
        }
    }
}

/// Whether a row asks for this field. Most fields of most requests end here.
fn is_in_table(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "authorization"
            | "connect-protocol-version"
            | "content-type"
            | "user-agent"
            | "x-amz-content-sha256"
            | "x-amz-date"
            | "x-amz-target"
            | "x-ms-version"
    )
}

const FORM: &str = "application/x-www-form-urlencoded";

fn is_json(content_type: &[u8]) -> bool {
    begins_with(content_type, "application/json")
}

/// Whether `text` begins with `start`, in any case.
fn begins_with(text: &[u8], start: &str) -> bool {
    let begin = text.get(..start.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(lines: &[(&'static str, &'static str)]) -> Audience {
        let fields = lines
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Audience::of(&HeaderMap::from_iter(fields))
    }

    fn capitalised(name: &str) -> String {
        name[..1].to_uppercase() + &name[1..]
    }

    #[test]
    fn every_field_of_the_table_is_looked_at() {
        assert!(TABLE.iter().all(|row| is_in_table(row.field)));
        for row in TABLE.iter().filter(|row| row.field != "x-amz-target") {
            let is_credential = row.field == "authorization";
            assert!(
                !(is_credential && row.begins.starts_with('b')),
                "{}",
                row.begins
            );
            assert!(!begins_with(b"application/json", row.begins) || row.begins.is_empty());
        }
        assert!(!is_in_table("host"));
    }

    #[test]
    fn the_request_says_what_its_client_reads() {
        for (lines, expected) in [
            (&[][..], Audience::Json),
            (
                &[
                    ("user-agent", "OpenAI/Python 2.1"),
                    ("accept", "application/json"),
                ],
                Audience::Json,
            ),
            (
                &[("content-type", "application/grpc+proto")],
                Audience::Grpc("application/grpc"),
            ),
            (
                &[("content-type", "application/grpc-web+json")],
                Audience::Grpc("application/grpc-web"),
            ),
            (
                &[("content-type", "application/connect+proto")],
                Audience::ConnectStream("application/connect+proto"),
            ),
            (
                &[
                    ("content-type", "application/json"),
                    ("connect-protocol-version", "1"),
                ],
                Audience::ConnectUnary,
            ),
            (
                &[("user-agent", "Boto3/1.44"), ("x-amz-target", "Dynamo.Get")],
                Audience::AwsJson,
            ),
            (
                &[("authorization", "AWS4-HMAC-SHA256 x")],
                Audience::StorageXml,
            ),
            (
                &[
                    ("authorization", "AWS4-HMAC-SHA256 x"),
                    ("content-type", "application/json"),
                ],
                Audience::AwsJson,
            ),
            (
                &[("content-type", FORM), ("user-agent", "aws-cli/2.1")],
                Audience::AwsQuery,
            ),
            (&[("x-ms-version", "2026-01-01")], Audience::StorageXml),
            (
                &[("user-agent", "git/2.50"), ("accept", "*/*")],
                Audience::Text,
            ),
            (
                &[("accept", "application/vnd.git-lfs+json")],
                Audience::GitLfs,
            ),
            (&[("user-agent", "npm/11.0 node/v24")], Audience::JsonText),
            (
                &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")],
                Audience::Kubernetes,
            ),
            (
                &[("accept", "application/vnd.oci.image.index.v1+json")],
                Audience::Registry,
            ),
            (
                &[("accept", "application/graphql-response+json, */*")],
                Audience::GraphQl,
            ),
            (&[("accept", "text/html, */*")], Audience::Json),
        ] {
            assert_eq!(audience(lines), expected, "{lines:?}");
            let fields = lines
                .iter()
                .map(|(name, value)| format!("{}:  {value} \r\n", capitalised(name)));
            let head = format!(
                "GET /accept:text/xml HTTP/1.1\r\n{}\r\n",
                fields.collect::<String>()
            );
            assert_eq!(Audience::of_head(head.as_bytes()), expected, "{head}");
        }
    }
}
