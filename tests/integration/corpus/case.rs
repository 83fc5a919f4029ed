//! The acceptance cases as data. An unknown field fails to parse, so that no case passes because
//! one of its expectations was ignored.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::leak::Form;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub group: String,
    pub level: Level,
    #[serde(rename = "why")]
    pub _why: String,
    pub via: Via,
    pub connect_target: Option<String>,
    pub sni: Option<String>,
    pub action: Option<String>,
    pub credentials: Vec<Credential>,
    #[serde(default)]
    pub extra_credentials: Vec<Credential>,
    pub request: Request,
    pub upstream_response: Option<Answer>,
    pub expect: Expect,
    #[serde(default)]
    pub client: Map<String, Value>,
    pub leak: Leak,
    /// `None`: nothing is asserted.
    pub ledger: Option<Vec<Line>>,
    /// Answers in sequence per name, `"then"` between them.
    #[serde(default)]
    pub dns: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    pub upstream: Option<String>,
    #[serde(default)]
    pub upstream_application_bytes_must_be_zero: bool,
    #[serde(default)]
    pub fault: Option<String>,
    #[serde(default)]
    pub after: Option<String>,
    #[serde(default)]
    pub responses: Option<usize>,
    /// How the answer's body is opened before it is searched: `true` or `"try-all"`.
    #[serde(default)]
    pub decode: Option<Value>,
    #[serde(default)]
    pub leak_also: Vec<String>,
    #[serde(default)]
    pub client_latency_ms_max: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Must,
    Should,
    Stretch,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    ConnectTlsH1,
    ConnectPlainH1,
    AbsoluteHttp,
    ConnectTlsH2,
    RawProxyPort,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    pub slug: String,
    pub value_b64: String,
    pub allowed_hosts: Vec<String>,
    pub allowed_ports: Vec<u16>,
    pub schemes: Vec<String>,
    pub locations: Vec<String>,
    pub state: String,
    pub actions: Vec<String>,
    #[serde(default)]
    pub methods: Vec<String>,
    #[serde(default)]
    pub path_prefixes: Vec<String>,
    #[serde(default)]
    pub header_names: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(default)]
    pub method: String,
    /// The parts of `raw_b64`; over HTTP/2 they are all there is.
    #[serde(default)]
    pub target: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body_b64: Option<String>,
    #[serde(default)]
    pub framing: Value,
    #[serde(default)]
    pub raw_b64: Option<String>,
    /// Offsets at which the bytes are split into separate writes.
    #[serde(default)]
    pub writes: Option<Vec<usize>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    #[serde(default)]
    pub raw_b64: Option<String>,
    #[serde(default)]
    pub h2: Option<AnswerOverHttp2>,
    #[serde(default)]
    pub resp_writes: Option<Value>,
    #[serde(default)]
    pub resp_close: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerOverHttp2 {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body_b64: String,
    #[serde(default)]
    pub trailers: Vec<(String, String)>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub any_of: Vec<Map<String, Value>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leak {
    #[serde(default)]
    pub never_in_client: Vec<String>,
    #[serde(default)]
    pub never_in_client_bytes_b64: Vec<String>,
    #[serde(default)]
    pub never_in_logs: Vec<String>,
    #[serde(default)]
    pub never_in_ledger: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub slug: String,
    pub action: String,
    pub outcome: String,
}

/// Decodes a `_b64` field.
pub fn b64(text: &str) -> Vec<u8> {
    STANDARD
        .decode(text)
        .unwrap_or_else(|e| panic!("{e} in {text:?}"))
}

impl Credential {
    pub fn value(&self) -> Vec<u8> {
        b64(&self.value_b64)
    }
}

impl Case {
    /// Every credential that is stored for the case.
    pub fn stored(&self) -> impl Iterator<Item = &Credential> {
        self.credentials.iter().chain(&self.extra_credentials)
    }

    /// The exact bytes that go out after CONNECT and TLS.
    pub fn raw(&self) -> Vec<u8> {
        b64(self.request.raw_b64.as_deref().expect("raw_b64"))
    }

    /// Whether the request has a body that a buffer of one byte does not hold.
    pub fn has_body(&self) -> bool {
        let request = &self.request;
        let raw = request.raw_b64.as_deref().map(b64).unwrap_or_default();
        let behind_head = memchr::memmem::find(&raw, b"\r\n\r\n").map(|end| raw.len() - end - 4);
        let body = request.body_b64.as_deref().map(|body| b64(body).len());
        behind_head.or(body).is_some_and(|length| length > 1)
    }

    /// The exact bytes of the upstream's answer.
    pub fn answer(&self) -> Option<Vec<u8>> {
        self.upstream_response.as_ref()?.raw_b64.as_deref().map(b64)
    }
}

/// `forms.json`: the encoded forms of every value.
pub struct Forms(BTreeMap<String, FormsOfValue>);

#[derive(Deserialize)]
struct FormsOfValue {
    must: Vec<NamedForm>,
}

#[derive(Deserialize)]
struct NamedForm {
    form: String,
    b64: String,
}

impl Forms {
    pub fn parse(text: &[u8]) -> Self {
        Self(serde_json::from_slice(text).expect("forms.json"))
    }

    /// The forms of a credential's value that must not be found.
    pub fn of(&self, credential: &Credential) -> Vec<Form> {
        let forms = self
            .0
            .get(&credential.value_b64)
            .unwrap_or_else(|| panic!("forms.json does not know the value of {}", credential.slug));
        forms
            .must
            .iter()
            .map(|f| (f.form.clone(), b64(&f.b64)))
            .collect()
    }
}
