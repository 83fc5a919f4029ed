//! One table of an array of tables, `[[destination]]`, while it is read.

use super::problem::{Origin, Problem};
use super::raw::{self, Node, Setting, Value};

/// A table, and where what is wrong with it goes.
pub(super) struct Entry<'a> {
    /// The name of the array.
    name: &'static str,
    index: usize,
    origin: &'a Origin,
    pub(super) table: &'a Node,
    fields: &'a [(String, Node)],
    problems: &'a mut Vec<Problem>,
}

impl<'a> Entry<'a> {
    /// The tables of one layer, each read by `read`. One that gives nothing is left out.
    pub(super) fn all<T>(
        name: &'static str,
        known: &[&str],
        setting: &Setting,
        problems: &mut Vec<Problem>,
        read: impl Fn(Entry<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Value::List(tables) = &setting.node.value else {
            problems.push(Problem {
                origin: Some(setting.origin.clone()),
                key: Some(name.to_owned()),
                message: format!("write [[{name}]] with two brackets: there can be several"),
            });
            return Vec::new();
        };
        let mut all = Vec::with_capacity(tables.len());
        for (index, table) in tables.iter().enumerate() {
            let fields: &[(String, Node)] = match &table.value {
                Value::Table(fields) => fields,
                _ => &[],
            };
            let mut entry = Entry {
                name,
                index,
                origin: &setting.origin,
                table,
                fields,
                problems: &mut *problems,
            };
            entry.refuse_unknown(known);
            all.extend(read(entry));
        }
        all
    }

    fn refuse_unknown(&mut self, known: &[&str]) {
        for (name, node) in self.fields {
            if !known.contains(&name.as_str()) {
                let message = raw::did_you_mean(name, known.iter().copied());
                self.complain(name, node.line, message);
            }
        }
    }

    /// Whether the table has a field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    pub(super) fn complain(&mut self, field: &str, line: usize, message: String) {
        let origin = match self.origin {
            Origin::File { path, .. } => Origin::File {
                path: path.clone(),
                line,
            },
            other => other.clone(),
        };
        self.problems.push(Problem {
            origin: Some(origin),
            key: Some(format!("{}[{}].{field}", self.name, self.index)),
            message,
        });
    }

    /// A field. One that cannot be read is reported and left out.
    pub(super) fn field<T>(
        &mut self,
        name: &str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let (_, node) = self.fields.iter().find(|(known, _)| known == name)?;
        read(&node.value)
            .map_err(|message| self.complain(name, node.line, message))
            .ok()
    }

    /// A field with a list, of which faulty items are reported and left out.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (_, node) = self.fields.iter().find(|(known, _)| known == name)?;
        let Value::List(items) = &node.value else {
            self.complain(name, node.line, "expected a list".to_owned());
            return None;
        };
        if items.is_empty() && name == "hosts" {
            self.complain(name, node.line, "must not be empty".to_owned());
        }
        let mut read_items = Vec::with_capacity(items.len());
        for item in items {
            match read(&item.value) {
                Ok(item) => read_items.push(item),
                Err(message) => self.complain(name, item.line, message),
            }
        }
        Some(read_items)
    }
}
