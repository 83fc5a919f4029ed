//! The configuration.

use serde::Serialize;

use crate::config::{Problem, Shown};

/// `egret config check` of a valid configuration.
#[derive(Debug, Serialize)]
pub struct ValidConfig {
    /// The file that was read, if any.
    pub file: Option<String>,
    /// None.
    pub problems: [ConfigProblem; 0],
    /// True.
    pub valid: bool,
}

/// `egret config check` of a faulty configuration.
#[derive(Debug, Serialize)]
pub struct InvalidConfig {
    /// All of them.
    pub problems: Vec<ConfigProblem>,
    /// False.
    pub valid: bool,
}

/// Something that is wrong with a configuration.
#[derive(Debug, Serialize)]
pub struct ConfigProblem {
    /// The key, if it is about one.
    pub key: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Where it was typed.
    pub origin: Option<String>,
}

impl ConfigProblem {
    /// The view of a problem.
    pub fn new(problem: &Problem) -> Self {
        Self {
            key: problem.key.clone(),
            message: problem.message.clone(),
            origin: problem.origin.as_ref().map(ToString::to_string),
        }
    }
}

/// A setting in force.
#[derive(Debug, Serialize)]
pub struct ConfigSetting<'a> {
    /// The key, `proxy.listen`.
    pub key: &'static str,
    /// Where it was typed.
    pub origin: String,
    /// The value.
    pub value: &'a serde_json::Value,
}

impl<'a> ConfigSetting<'a> {
    /// The view of a setting.
    pub fn new(setting: &'a Shown) -> Self {
        Self {
            key: setting.key,
            origin: setting.origin.to_string(),
            value: &setting.json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    #[test]
    fn members_have_their_names_and_order() {
        let valid = ValidConfig {
            file: None,
            problems: [],
            valid: true,
        };
        assert_eq!(
            serde_json::to_string(&valid).unwrap(),
            r#"{"file":null,"problems":[],"valid":true}"#
        );
        let problem = Problem {
            origin: Some(Origin::Environment("EGRET_BODY_BUFFER".to_owned())),
            key: None,
            message: "m".to_owned(),
        };
        let invalid = InvalidConfig {
            problems: vec![ConfigProblem::new(&problem)],
            valid: false,
        };
        assert_eq!(
            serde_json::to_string(&invalid).unwrap(),
            r#"{"problems":[{"key":null,"message":"m","origin":"$EGRET_BODY_BUFFER"}],"valid":false}"#
        );
        let setting = Shown {
            key: "proxy.alpn",
            toml: String::new(),
            json: serde_json::json!(["h2"]),
            origin: Origin::Default,
        };
        assert_eq!(
            serde_json::to_string(&ConfigSetting::new(&setting)).unwrap(),
            r#"{"key":"proxy.alpn","origin":"default","value":["h2"]}"#
        );
    }
}
