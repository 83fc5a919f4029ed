//! The same with another provider, Debian's glewlwyd, which signs with ES256.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{PAGE, is_in};
use crate::browser::{Browser, root};
use crate::needs::{Need, needs};
use crate::wire::{Response, Wire, values};
use crate::within;
use crate::world::World;

/// How Debian fills a new database.
const TABLES: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";
/// Where it keeps what it is made of.
const MODULES: &str = "/usr/lib/glewlwyd";
const SECRET: &str = "the-secret-of-the-client";

struct Glewlwyd {
    port: u16,
    directory: TempDir,
    process: Child,
}

impl Glewlwyd {
    /// Starts it with a client and jane.
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let database = directory.path().join("database");
        let tables = std::fs::File::open(TABLES).expect("what Debian fills a database with");
        let filled = Command::new("sqlite3")
            .arg(&database)
            .stdin(tables)
            .status()
            .await;
        assert!(filled.expect("sqlite3").success());
        // Another program may take the port in between: then it is tried with the next one.
        for _ in 0..10 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = free.local_addr().expect("an address").port();
            drop(free);
            let file = directory.path().join("glewlwyd.conf");
            std::fs::write(&file, configuration(port, &database)).expect("write");
            let mut process = Command::new("glewlwyd")
                .arg(format!("--config-file={}", file.display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("start the provider");
            if !within("the provider", listens(port, &mut process)).await {
                continue;
            }
            let provider = Self {
                port,
                directory,
                process,
            };
            provider.furnish().await;
            return provider;
        }
        panic!("no port is free");
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}/api/oidc", self.port)
    }

    async fn ask(&self, method: &str, path: &str, cookie: &str, body: Value) -> Response {
        let (authority, body) = (format!("127.0.0.1:{}", self.port), body.to_string());
        let asked = async {
            let socket = TcpStream::connect(&authority).await.expect("the provider");
            let mut wire = Wire::new(socket);
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
                 Cookie: {cookie}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n\
                 {body}",
                body.len()
            );
            wire.send(head).await.expect("send");
            wire.response(false).await.expect("an answer")
        };
        within("the provider", asked).await
    }

    /// The cookie of somebody who has signed in there.
    async fn sign_in(&self, user: &str, password: &str) -> String {
        let form = json!({ "username": user, "password": password });
        let answer = self.ask("POST", "/api/auth/", "", form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookies = values(&answer.headers, "set-cookie");
        let cookie = String::from_utf8_lossy(cookies.first().expect("a cookie")).into_owned();
        cookie.split(';').next().expect("a cookie").to_owned()
    }

    /// Adds what its administrator would.
    async fn furnish(&self) {
        let cookie = self.sign_in("admin", "password").await;
        // It publishes such a key without the zero (one in 128 has one).
        let begins_with_zero = |key: &rcgen::KeyPair| key.public_key_raw()[1] == 0;
        let key = std::iter::repeat_with(|| rcgen::KeyPair::generate().expect("a key"))
            .find(begins_with_zero)
            .expect("one in 256 keys");
        let plugin = json!({
            "module": "oidc", "name": "oidc", "display_name": "OpenID", "enabled": true,
            "parameters": {
                "iss": self.issuer(), "jwt-type": "ecdsa", "jwt-key-size": "256",
                "key": key.serialize_pem(), "cert": key.public_key_pem(),
                "access-token-duration": 3600, "refresh-token-duration": 86400,
                "code-duration": 600, "refresh-token-rolling": true, "allow-non-oidc": false,
                "auth-type-client-enabled": false, "auth-type-code-enabled": true,
                "auth-type-token-enabled": false, "auth-type-id-token-enabled": true,
                "auth-type-none-enabled": false, "auth-type-password-enabled": false,
                "auth-type-refresh-enabled": true, "subject-type": "public",
                "pkce-allowed": true, "pkce-required": true, "pkce-method-plain-allowed": false,
                "claims": [], "name-claim": "on-demand", "email-claim": "no",
                "scope-claim": "no", "address-claim": { "type": "no" },
                "allowed-scope": ["openid"], "jwks-show": true,
                "encrypt-out-token-allow": false, "request-parameter-allow": false,
            },
        });
        let jane = json!({
            "username": "jane", "name": "Jane", "password": "password-of-jane",
            "scope": ["openid", "g_profile"], "enabled": true,
        });
        let client = json!({
            "client_id": "egret", "name": "Egret", "confidential": true, "enabled": true,
            "client_secret": SECRET, "password": SECRET,
            "redirect_uri": [format!("{PAGE}/signin/openid/callback")],
            "authorization_type": ["code", "id_token"],
            "token_endpoint_auth_method": ["client_secret_basic"], "scope": ["openid"],
        });
        for (path, what) in [
            ("/api/mod/plugin/", plugin),
            ("/api/user/?source=database", jane),
            ("/api/client/?source=database", client),
        ] {
            let answer = self.ask("POST", path, &cookie, what).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
        let cookie = self.sign_in("jane", "password-of-jane").await;
        let grant = json!({ "scope": "openid" });
        let granted = self
            .ask("PUT", "/api/auth/grant/egret", &cookie, grant)
            .await;
        assert_eq!(granted.status, 200, "{}", granted.text());
    }

    /// What jane does at the provider: where it leads her back to.
    async fn go_on(&self, away: &str) -> String {
        let cookie = self.sign_in("jane", "password-of-jane").await;
        let origin = format!("http://127.0.0.1:{}", self.port);
        let path = away.strip_prefix(&origin).expect("a place of the provider");
        // What its page adds when she says that this is she.
        let path = format!("{path}&g_continue");
        let answer = self.ask("GET", &path, &cookie, Value::Null).await;
        let place = answer.header("location").expect("a redirect");
        let back = place.strip_prefix(PAGE);
        back.unwrap_or_else(|| panic!("it leads to {place}"))
            .to_owned()
    }

    async fn world(&self) -> World {
        let secret = self.directory.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).expect("write the secret");
        World::builder()
            .set("admin.url", PAGE)
            .set("openid.issuer", self.issuer())
            .set("openid.client_id", "egret")
            .set("openid.client_secret_file", secret.display().to_string())
            .set("openid.scopes", toml::Value::Array(Vec::new()))
            .set("openid.user_claim", "sub")
            .start()
            .await
    }
}

/// Waits until it listens; `false` if it ends before.
async fn listens(port: u16, process: &mut Child) -> bool {
    loop {
        if process.try_wait().expect("its status").is_some() {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn configuration(port: u16, database: &Path) -> String {
    format!(
        r#"
port={port}
bind_address="127.0.0.1"
external_url="http://127.0.0.1:{port}"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="ERROR"
cookie_secure=0
session_expiration=86400
session_key="GLEWLWYD2_SESSION_ID"
admin_session_authentication="cookie"
profile_session_authentication="cookie"
login_api_enabled=true
max_post_size=16778240
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="{MODULES}/user"
client_module_path="{MODULES}/client"
user_auth_scheme_module_path="{MODULES}/scheme"
plugin_module_path="{MODULES}/plugin"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3"; path = "{}"; }};
"#,
        database.display()
    )
}

#[tokio::test]
async fn somebody_at_glewlwyd_signs_in_once_for_each_code() {
    needs!(Need::Program("glewlwyd"), Need::Program("sqlite3"));
    let mut provider = Glewlwyd::start().await;
    let world = provider.world().await;
    let mut administrator = root(&world).await;
    let mut jane = Browser::default();
    let begun = jane.get(&world, "/signin/openid?next=/credentials").await;
    let away = begun.header("location").expect("the provider");
    let back = provider.go_on(&away).await;
    // In another browser it is nobody's.
    let mut other = Browser::default();
    assert_eq!(other.get(&world, &back).await.status, 401);
    let answer = jane.get(&world, &back).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(answer.header("location").as_deref(), Some("/credentials"));
    assert!(is_in(&world, &jane).await);
    let users = world.run(&["user", "list", "--json"]).await.json();
    let users = users.as_array().expect("a list").iter();
    // Its subject is not her name there.
    let known = ["default", "root"];
    let new = users.filter(|user| !known.iter().any(|name| user["name"] == **name));
    assert_eq!(new.count(), 1, "jane is a user here");
    // The code was for that sign-in.
    let mut late = Browser::default();
    let begun = late.get(&world, "/signin/openid").await;
    let away = begun.header("location").expect("the provider");
    let fresh = provider.go_on(&away).await;
    let state = fresh.split("state=").nth(1).expect("a state");
    let state = state.split('&').next().expect("a state");
    let used = back.split("code=").nth(1).expect("a code");
    let used = used.split('&').next().expect("a code");
    let replay = format!("/signin/openid/callback?state={state}&code={used}");
    let refused = late.get(&world, &replay).await;
    assert!(matches!(refused.status, 401 | 502), "{}", refused.status);
    assert!(!is_in(&world, &late).await);

    provider.process.kill().await.expect("end the provider");
    let mut locked_out = Browser::default();
    let answer = locked_out.get(&world, "/signin/openid").await;
    assert!(matches!(answer.status, 303 | 502));
    administrator.post(&world, "/signout", &[]).await;
    assert_eq!(administrator.sign_in(&world, "root").await.status, 303);
}
