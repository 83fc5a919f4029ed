//! The first stage: what was typed, where, and under which key. Nothing is interpreted yet.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{self, DESTINATION, KEYS, Key, Kind};
use super::problem::{Origin, Problem};

/// A value as it was typed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// Text of the environment or of a flag, which have no quotes to tell a number from a name:
    /// the key decides what it is.
    Bare(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// A kind of value that no key takes, by name.
    Other(&'static str),
}

/// A value and the line it starts on (1 where there are no lines).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) line: usize,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) node: Node,
    pub(super) origin: Origin,
}

/// A flag of the command line that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The key, `proxy.listen`.
    pub key: &'static str,
    /// What the user typed it as, `--listen`.
    pub name: &'static str,
    /// Its value as text.
    pub text: String,
}

/// The settings that were typed, by key. A later layer replaces an earlier one.
pub(super) type Settings = BTreeMap<&'static str, Setting>;

impl Value {
    /// What the value is, for an error: short values are quoted.
    pub(super) fn describe(&self) -> String {
        match self {
            Value::Text(text) | Value::Bare(text) if text.chars().count() <= 40 => {
                format!("{text:?}")
            }
            Value::Text(_) | Value::Bare(_) => "a long text".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Other(kind) => format!("a {kind}"),
        }
    }

    /// The value as TOML would have it.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Value::Text(text) => toml::Value::String(text.clone()).to_string(),
            Value::Bare(text) if is_number_or_boolean(text) => text.clone(),
            Value::Bare(text) => toml::Value::String(text.clone()).to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| item.value.to_toml()).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Table(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(name, node)| format!("{name} = {}", node.value.to_toml()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
            Value::Other(kind) => (*kind).to_owned(),
        }
    }

    /// The value as JSON.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Text(text) => text.clone().into(),
            Value::Bare(text) => match text.parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) => text.parse::<bool>().map_or(text.clone().into(), Into::into),
            },
            Value::Integer(number) => (*number).into(),
            Value::Boolean(boolean) => (*boolean).into(),
            Value::List(items) => items.iter().map(|item| item.value.to_json()).collect(),
            Value::Table(entries) => entries
                .iter()
                .map(|(name, node)| (name.clone(), node.value.to_json()))
                .collect(),
            Value::Other(_) => serde_json::Value::Null,
        }
    }
}

/// Turns byte offsets into line numbers.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn of(&self, offset: usize) -> usize {
        let before = self.0.as_bytes().get(..offset).unwrap_or_default();
        1 + memchr::memchr_iter(b'\n', before).count()
    }

    fn node(&self, typed: &Spanned<DeValue<'_>>) -> Node {
        let value = match typed.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => Value::Other("number out of range"),
                }
            }
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.node(item)).collect())
            }
            DeValue::Table(table) => Value::Table(self.entries(table)),
            DeValue::Float(_) => Value::Other("number with a fraction"),
            DeValue::Datetime(_) => Value::Other("date"),
        };
        let line = self.of(typed.span().start);
        Node { value, line }
    }

    /// The entries in the order of the file (TOML tables come sorted by name).
    fn entries(&self, table: &DeTable<'_>) -> Vec<(String, Node)> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        entries
            .into_iter()
            .map(|(name, typed)| (name.get_ref().to_string(), self.node(typed)))
            .collect()
    }
}

/// Reads the text of a configuration file. What is wrong goes to `problems`; the rest is kept, so
/// that one run of `egret config check` shows everything.
pub(super) fn from_file(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Settings {
    let lines = Lines(text);
    let origin = |line| Origin::File {
        path: path.to_owned(),
        line,
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    problems.extend(errors.iter().map(|error| Problem {
        origin: Some(origin(lines.of(error.span().map_or(0, |span| span.start)))),
        key: None,
        message: format!("not valid TOML: {}", error.message()),
    }));

    let mut settings = Settings::new();
    for (section, node) in lines.entries(document.get_ref()) {
        let entries = match node.value {
            Value::Table(entries) if is_section(&section) => entries
                .into_iter()
                .map(|(name, node)| (format!("{section}.{name}"), node))
                .collect(),
            value => vec![(section, Node { value, ..node })],
        };
        for (name, node) in entries {
            let origin = origin(node.line);
            match key::find(&name) {
                Some(key) => {
                    settings.insert(key.name, Setting { node, origin });
                }
                None => problems.push(unknown(name, origin)),
            }
        }
    }
    settings
}

/// Whether it is a table of keys. `destination` is none: it is a key of its own.
fn is_section(name: &str) -> bool {
    name != DESTINATION && KEYS.iter().any(|key| key.section() == name)
}

fn unknown(name: String, origin: Origin) -> Problem {
    let message = if is_section(&name) {
        format!("`{name}` is a table: write [{name}]")
    } else if name.contains('.') {
        did_you_mean(&name, KEYS.iter().map(|key| key.name))
    } else {
        did_you_mean(&name, KEYS.iter().map(Key::section))
    };
    Problem {
        origin: Some(origin),
        key: Some(name),
        message,
    }
}

/// The message for an unknown name, with the nearest known one.
pub(super) fn did_you_mean<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> String {
    match key::nearest(typed, known) {
        Some(name) => format!("unknown key, did you mean `{name}`?"),
        None => "unknown key".to_owned(),
    }
}

/// Reads the settings among environment variables.
pub(super) fn from_environment(
    variables: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> Settings {
    let mut settings = Settings::new();
    for key in KEYS {
        let variable = key.variable();
        // An empty variable is an unset one: that is how a shell script or a manifest clears it.
        if let Some(text) = variables.get(&variable).filter(|text| !text.is_empty()) {
            let origin = Origin::Environment(variable);
            read_text(key, text, origin, &mut settings, problems);
        }
    }
    let names: Vec<String> = KEYS.iter().map(Key::variable).collect();
    for variable in variables
        .keys()
        .filter(|name| key::is_misspelt_variable(name))
    {
        problems.push(Problem {
            origin: Some(Origin::Environment(variable.clone())),
            key: None,
            message: did_you_mean(variable, names.iter().map(String::as_str))
                .replace("key", "setting"),
        });
    }
    settings
}

/// Reads the settings that flags of the command line carry.
pub(super) fn from_flags(flags: &[Flag], problems: &mut Vec<Problem>) -> Settings {
    let mut settings = Settings::new();
    for flag in flags {
        if let Some(key) = key::find(flag.key) {
            let origin = Origin::Flag(flag.name.to_owned());
            read_text(key, &flag.text, origin, &mut settings, problems);
        }
    }
    settings
}

/// The embedded defaults: a value for every key.
pub(super) fn defaults() -> Settings {
    let setting = |key: &Key| Setting {
        node: Node {
            value: default_of(key.name),
            line: 1,
        },
        origin: Origin::Default,
    };
    KEYS.iter().map(|key| (key.name, setting(key))).collect()
}

/// The embedded default of a key.
pub(super) fn default_of(name: &str) -> Value {
    key::find(name)
        .and_then(|key| parse_value(key.default).ok())
        .map_or(Value::Other("nothing"), |node| node.value)
}

/// Reads one TOML value by itself.
fn parse_value(text: &str) -> Result<Node, String> {
    DeValue::parse(text)
        .map(|value| Lines(text).node(&value))
        .map_err(|error| format!("not valid TOML: {}", error.message()))
}

fn read_text(
    key: &'static Key,
    text: &str,
    origin: Origin,
    settings: &mut Settings,
    problems: &mut Vec<Problem>,
) {
    let node = match key.kind {
        Kind::Tables => parse_value(text),
        Kind::List if text.trim_start().starts_with('[') => parse_value(text),
        Kind::List => Ok(Node {
            value: Value::List(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(bare)
                    .collect(),
            ),
            line: 1,
        }),
        Kind::Scalar => Ok(bare(text)),
    };
    match node {
        Ok(node) => {
            settings.insert(key.name, Setting { node, origin });
        }
        Err(message) => problems.push(Problem {
            origin: Some(origin),
            key: Some(key.name.to_owned()),
            message,
        }),
    }
}

fn is_number_or_boolean(text: &str) -> bool {
    text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok()
}

fn bare(text: &str) -> Node {
    let value = Value::Bare(text.to_owned());
    Node { value, line: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Settings, Vec<Problem>) {
        let mut problems = Vec::new();
        let settings = from_file(Path::new("egret.toml"), text, &mut problems);
        (settings, problems)
    }

    #[test]
    fn every_default_is_valid_toml() {
        for key in KEYS {
            assert!(parse_value(key.default).is_ok(), "{}", key.name);
        }
    }

    #[test]
    fn a_setting_remembers_its_line() {
        let (settings, problems) = read("\n[proxy]\n# a comment\nlisten = \"127.0.0.1:1\"\n");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(settings["proxy.listen"].origin.to_string(), "egret.toml:4");
    }

    #[test]
    fn unknown_names_come_with_the_nearest_known_one() {
        let (_, problems) = read("[proxi]\nlisten = 1\n[proxy]\nlisen = 1\n[zzz]\n");
        let messages: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(
            messages,
            [
                "egret.toml:1: proxi: unknown key, did you mean `proxy`?",
                "egret.toml:4: proxy.lisen: unknown key, did you mean `proxy.listen`?",
                "egret.toml:5: zzz: unknown key",
            ]
        );
    }

    #[test]
    fn a_table_given_as_a_value_is_explained() {
        let (_, problems) = read("proxy = 1\n");
        assert_eq!(
            problems[0].to_string(),
            "egret.toml:1: proxy: `proxy` is a table: write [proxy]"
        );
    }

    #[test]
    fn syntax_errors_do_not_hide_the_rest() {
        let (settings, problems) = read("[proxy]\nlisten = \nprincipal = \"alice\"\n");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(
            problems[0].origin.as_ref().map(Origin::to_string),
            Some("egret.toml:2".into())
        );
        assert!(settings.contains_key("proxy.principal"));
    }

    #[test]
    fn lists_in_the_environment_are_separated_by_commas_or_written_as_toml() {
        for text in ["8443, 9443", "[8443, 9443]"] {
            let variables =
                BTreeMap::from([("EGRET_PROXY_CONNECT_PORTS".to_owned(), text.to_owned())]);
            let mut problems = Vec::new();
            let settings = from_environment(&variables, &mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!(
                settings["proxy.connect_ports"].node.value.to_toml(),
                "[8443, 9443]"
            );
        }
    }

    #[test]
    fn an_unknown_variable_is_a_problem() {
        let variables = BTreeMap::from([("EGRET_PROXY_LISTNE".to_owned(), "x".to_owned())]);
        let mut problems = Vec::new();
        from_environment(&variables, &mut problems);
        assert_eq!(
            problems[0].to_string(),
            "$EGRET_PROXY_LISTNE: unknown setting, did you mean `EGRET_PROXY_LISTEN`?"
        );
    }

    #[test]
    fn values_print_as_toml_that_reads_back() {
        let text = r#"[{ hosts = ["a\"b", "c"], scan = [], n = 7, b = true }]"#;
        let node = parse_value(text).expect("valid");
        assert_eq!(parse_value(&node.value.to_toml()).expect("valid"), node);
    }
}
