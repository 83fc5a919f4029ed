//! Well-known services, and what an import found.

use serde::Serialize;

use crate::services;

/// A service of the catalogue.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Service<'a> {
    /// What `--service` calls it.
    pub id: &'a str,
    /// What people call it.
    pub name: &'a str,
    /// Where its key is sent; `{…}` is for the user to fill in.
    pub hosts: Vec<String>,
    /// Where in a request its key is placed.
    pub location: String,
    /// How a request carries it.
    pub form: &'a str,
    /// Where a key is made.
    pub create: &'a str,
    /// Which key is enough.
    pub narrower: &'a str,
}

impl<'a> Service<'a> {
    /// The view of a service.
    pub fn new(service: &'a services::Service) -> Self {
        Self {
            id: &service.id,
            name: &service.name,
            hosts: service.hosts.iter().map(ToString::to_string).collect(),
            location: service.location().to_string(),
            form: &service.form,
            create: &service.create,
            narrower: &service.narrower,
        }
    }
}

/// An entry of an imported file. Never its value.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ImportedEntry<'a> {
    /// Its line, from 1 on; in a JSON file its number.
    pub line: usize,
    /// The slug that it becomes.
    pub slug: String,
    /// `secret`, `login` or `fields`.
    pub kind: String,
    /// The service that it is for, if that is known.
    pub service: Option<&'a str>,
    /// Where it may be used.
    pub hosts: Vec<String>,
    /// Where in a request it may be placed; empty for the default.
    pub locations: Vec<String>,
    /// What happens to it.
    pub fate: &'static str,
}

/// What `egret adopt` found, and did.
#[derive(Debug, Serialize)]
pub struct Adoption<'a> {
    /// The keys.
    pub entries: Vec<AdoptedEntry<'a>>,
    /// The old content of the files that were changed.
    pub kept: Vec<KeptFile>,
}

/// A key in files of programs. Never its value.
#[derive(Debug, Serialize)]
pub struct AdoptedEntry<'a> {
    /// Where it is.
    pub places: Vec<KeyPlace>,
    /// What is written in its place, or would be.
    pub placeholder: Option<String>,
    /// The service that it is for, if that is known.
    pub service: Option<&'a str>,
    /// Where it may be used.
    pub hosts: Vec<String>,
    /// Where in a request it may be placed; empty for the default.
    pub locations: Vec<String>,
    /// What happens to it.
    pub fate: &'static str,
    /// Why it stays.
    pub reason: Option<&'static str>,
}

/// A line of a file.
#[derive(Debug, Serialize)]
pub struct KeyPlace {
    /// The file.
    pub file: String,
    /// The line, from 1 on.
    pub line: usize,
}

/// The old content of a file.
#[derive(Debug, Serialize)]
pub struct KeptFile {
    /// The file that was changed.
    pub file: String,
    /// Where its old content is.
    pub backup: String,
}

/// How much was removed.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// How many files.
    pub removed: u64,
}
