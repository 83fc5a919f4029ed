//! What a browser does at the admin listener: keeps a cookie, and says where its requests come from.

use crate::wire::{Response, Wire, values};
use crate::within;
use crate::world::World;

/// A password that is long enough.
pub const PASSWORD: &str = "a long enough password";

/// A browser at the page.
#[derive(Clone, Default)]
pub struct Browser {
    /// The cookie of its session: `name=value`.
    pub cookie: Option<String>,
    /// The cookie that it has while it is at an identity provider.
    pub openid: Option<String>,
}

impl Browser {
    /// Opens a page.
    pub async fn get(&mut self, world: &World, path: &str) -> Response {
        self.send(world, "GET", path, &[], "").await
    }

    /// Sends a form from a page of the listener.
    pub async fn post(&mut self, world: &World, path: &str, form: &[(&str, &str)]) -> Response {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let fields = [
            "Content-Type: application/x-www-form-urlencoded",
            "Sec-Fetch-Site: same-origin",
        ];
        self.send(world, "POST", path, &fields, &body).await
    }

    /// Signs in with [`PASSWORD`].
    pub async fn sign_in(&mut self, world: &World, user: &str) -> Response {
        let form = [("user", user), ("password", PASSWORD)];
        self.post(world, "/signin", &form).await
    }

    /// Uses a one-time link up, as `user` with [`PASSWORD`].
    pub async fn claim(&mut self, world: &World, link: &str, user: &str) -> Response {
        let token = link.trim().rsplit('/').next().expect("a link");
        let form = [
            ("token", token),
            ("user", user),
            ("password", PASSWORD),
            ("again", PASSWORD),
        ];
        self.post(world, "/signin/link", &form).await
    }

    /// Sends a request with these fields.
    pub async fn send(
        &mut self,
        world: &World,
        method: &str,
        path: &str,
        fields: &[&str],
        body: &str,
    ) -> Response {
        let host = format!("Host: egret.localhost:{}", world.admin.port());
        let cookies = [&self.cookie, &self.openid].map(|cookie| {
            let cookie = cookie.as_ref()?;
            Some(format!("Cookie: {cookie}"))
        });
        let mut all = vec![host.as_str()];
        all.extend(cookies.iter().filter_map(Option::as_deref));
        all.extend(fields);
        let answer = ask(world, method, path, &all, body).await;
        for field in values(&answer.headers, "set-cookie") {
            let field = String::from_utf8_lossy(field);
            let cookie = field.split(';').next().expect("a cookie").to_owned();
            let kept = if cookie.contains("-openid-") {
                &mut self.openid
            } else {
                &mut self.cookie
            };
            *kept = (!cookie.ends_with('=')).then_some(cookie);
        }
        answer
    }
}

/// The administrator `root`, signed in.
pub async fn root(world: &World) -> Browser {
    let link = world.run(&["admin", "link"]).await.ok();
    let mut browser = Browser::default();
    let claimed = browser.claim(world, &link, "root").await;
    assert_eq!(claimed.status, 303, "{}", claimed.text());
    browser
}

/// Sends one request to the admin listener, with these fields and no others.
pub async fn ask(world: &World, method: &str, path: &str, fields: &[&str], body: &str) -> Response {
    let asked = async {
        let socket = tokio::net::TcpStream::connect(world.admin).await;
        let mut wire = Wire::new(socket.expect("the admin listener"));
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for field in fields {
            request.push_str(&format!("{field}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        wire.send(request).await.expect("the listener reads");
        let answer = wire.response(method == "HEAD").await;
        answer.expect("an answer")
    };
    within("the admin listener", asked).await
}
