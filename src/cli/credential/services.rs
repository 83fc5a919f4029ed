//! `egret credential services`

use clap::Args;

use crate::cli::output::{self, Format};
use crate::services::{self, Service};
use crate::views;

/// List the well-known services that --service and imports know
///
/// For each: where its key is sent, how a request carries it, where to make one, and which key is
/// enough for most work.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret credential services
  egret credential services --json | jq '.[] | select(.id == \"github\")'")]
pub(super) struct Services {
    #[command(flatten)]
    format: Format,
}

impl Services {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if self.format.json {
            return output::json(
                &services::all()
                    .iter()
                    .map(views::Service::new)
                    .collect::<Vec<_>>(),
            );
        }
        let row = |service: &Service| {
            let hosts: Vec<_> = service.hosts.iter().map(ToString::to_string).collect();
            [
                service.id.clone(),
                service.name.clone(),
                hosts.join(", "),
                service.create.clone(),
            ]
        };
        let rows: Vec<_> = services::all().iter().map(row).collect();
        output::print(&output::table(
            ["SERVICE", "NAME", "HOSTS", "MAKE A KEY AT"],
            &rows,
        ))
    }
}

/// A service by its id; the error names the nearest one.
pub(super) fn parse(text: &str) -> Result<&'static Service, String> {
    services::find(text).ok_or_else(|| {
        let distance = |service: &&Service| strsim::levenshtein(&service.id, text);
        let nearest = services::all().iter().min_by_key(distance);
        let hint = nearest
            .filter(|service| distance(service) <= 3)
            .map(|service| &service.id);
        match hint {
            Some(id) => format!("is it {id}? `egret credential services` lists them"),
            None => "no such service; `egret credential services` lists them".to_owned(),
        }
    })
}
