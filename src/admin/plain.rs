//! The forms without looks, for a server without pages.

use std::fmt::Write as _;

use super::looks::{Form, FormKind, Looks};
use super::problem::AdminProblem;

/// Forms without looks.
pub(super) struct PlainLooks;

impl Looks for PlainLooks {
    fn form(&self, form: &Form<'_>) -> String {
        let body = match form.kind {
            FormKind::SignIn { user, openid } => {
                let fields = [text("user", "Name", user, "username"), old("password")];
                let local = send("/signin", "Sign in", &fields, form.next);
                if openid {
                    let elsewhere = get("/signin/openid", "Sign in elsewhere", form.next);
                    elsewhere + &local
                } else {
                    local
                }
            }
            FormKind::Claim {
                token,
                fixed,
                user,
                display_name,
            } => {
                let who = match fixed {
                    Some(user) => hidden("user", user.as_str()),
                    None => {
                        text("user", "Name", user, "username")
                            + &text("display_name", "Name for people", display_name, "name")
                    }
                };
                let fields = [hidden("token", token), who, new_password()];
                send("/signin/link", "Set password", &fields, "/")
            }
            FormKind::LinkOver => String::new(),
            FormKind::Prove { user } => {
                let who = format!("<p>You are {}.</p>", escaped(user.as_str()));
                let fields = [who, old("password")];
                send("/reauthenticate", "Go on", &fields, form.next)
            }
            FormKind::Password { .. } => {
                let fields = [old("current"), new_password()];
                send("/account/password", "Change password", &fields, "/")
            }
        };
        page(&body, form.problem)
    }
}

fn page(body: &str, problem: Option<&AdminProblem>) -> String {
    let mut said = String::new();
    if let Some(problem) = problem {
        let title = escaped(problem.trouble.title());
        let detail = escaped(&problem.detail);
        // Writing to a string does not fail.
        let _ = write!(said, "<p role=\"alert\">{title}. {detail}</p>");
        for field in &problem.fields {
            let (name, detail) = (escaped(&field.field), escaped(&field.detail));
            let _ = write!(said, "<p role=\"alert\">{name}: {detail}</p>");
        }
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Egret</title>\
         <h1>Egret</h1>{said}{body}</html>"
    )
}

fn send(action: &str, label: &str, fields: &[String], next: &str) -> String {
    format!(
        "<form method=\"post\" action=\"{action}\">{}{}<p><button>{label}</button></p></form>",
        fields.concat(),
        hidden("next", next)
    )
}

fn get(action: &str, label: &str, next: &str) -> String {
    // A link, and no form: a form may not lead to another site (`form-action`).
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("<p><a href=\"{action}?next={next}\">{label}</a></p>")
}

fn text(name: &str, label: &str, value: &str, complete: &str) -> String {
    let value = escaped(value);
    format!(
        "<p><label>{label} <input name=\"{name}\" value=\"{value}\" autocomplete=\"{complete}\">\
         </label></p>"
    )
}

fn old(name: &str) -> String {
    format!(
        "<p><label>Password <input type=\"password\" name=\"{name}\" required \
         autocomplete=\"current-password\"></label></p>"
    )
}

fn new_password() -> String {
    let field = |name: &str, label: &str| {
        format!(
            "<p><label>{label} <input type=\"password\" name=\"{name}\" required \
             autocomplete=\"new-password\"></label></p>"
        )
    };
    field("password", "New password, at least 12 characters") + &field("again", "Once more")
}

fn hidden(name: &str, value: &str) -> String {
    let value = escaped(value);
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
}

/// Text between tags, or in an attribute with quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_text() {
        let form = Form {
            kind: FormKind::SignIn {
                user: "\"><script>",
                openid: true,
            },
            problem: None,
            next: "/'\"><b>",
        };
        let html = PlainLooks.form(&form);
        assert!(html.contains("&quot;&gt;&lt;script&gt;"));
        assert!(!html.contains("<script>") && !html.contains("<b>"));
    }
}
