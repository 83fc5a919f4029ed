//! `egret group`: users with whom credentials are shared at once.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, actor};
use super::output::{self, Format};
use super::remote::{Remote, ServerArgs, Thing};
use crate::vault::{GroupName, Principal};
use crate::views;

/// Put users into groups, with which credentials can be shared
#[derive(Args)]
pub(super) struct Group {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a group
    #[command(after_help = "Example:\n  egret group add ops --description 'On call'")]
    Add(Add),
    /// List groups with their members
    #[command(visible_alias = "ls", after_help = "Example:\n  egret group list")]
    List(Format),
    /// Remove a group that no share and no egress rule names
    #[command(
        visible_alias = "rm",
        after_help = "Example:\n  egret group remove ops"
    )]
    Remove(Remove),
    /// Put a user into a group
    #[command(after_help = "Example:\n  egret group join ops bob")]
    Join(Member),
    /// Take a user out of a group, from the next request on
    #[command(after_help = "Example:\n  egret group leave ops bob")]
    Leave(Member),
}

#[derive(Args)]
struct Add {
    /// The name: a-z, 0-9, '.', '_', '@' and '-'
    name: GroupName,
    /// A remark for people
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    description: String,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Remove {
    /// The group's name
    name: GroupName,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Member {
    /// The group's name
    #[arg(value_name = "GROUP")]
    group: GroupName,
    /// The user's name
    #[arg(value_name = "USER")]
    user: Principal,
    #[command(flatten)]
    format: Format,
}

impl Group {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::Add(add) => add.run(context).await,
            Command::List(format) => list(context, format).await,
            Command::Remove(remove) => remove.run(context).await,
            Command::Join(member) => member.join(context).await,
            Command::Leave(member) => member.leave(context).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        match context.server() {
            Some(server) => {
                let message = json!({ "description": self.description });
                let path = format!("/groups/{}", self.name);
                let _: views::Group = server.create(&path, &message).await?;
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                registrar
                    .add_group(&actor(), &self.name, &self.description)
                    .await?;
                session.finish().await?;
            }
        }
        let text = format!(
            "{0} is a group. `egret group join {0} USER` puts a user into it.\n",
            self.name
        );
        report(self.format, true, &self.name, &text)
    }
}

impl Remove {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        match context.server() {
            Some(server) => {
                let path = format!("/groups/{}", self.name);
                server.at(path).delete("").await?;
            }
            None => {
                let session = context.open().await?;
                session.registrar.remove_group(&actor(), &self.name).await?;
                session.finish().await?;
            }
        }
        let text = format!("{} is no longer a group.\n", self.name);
        report(self.format, true, &self.name, &text)
    }
}

impl Member {
    /// The group at a server elsewhere.
    fn at<'a>(&self, server: &'a Remote) -> Thing<'a> {
        server.at(format!("/groups/{}", self.group))
    }

    fn below(&self) -> String {
        format!("/members/{}", self.user)
    }

    async fn join(self, context: &Context) -> anyhow::Result<()> {
        let changed = match context.server() {
            Some(server) => self.at(server).put_bare(&self.below()).await?.changed,
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let changed = registrar
                    .join_group(&actor(), &self.group, &self.user)
                    .await?;
                session.finish().await?;
                changed
            }
        };
        let text = if changed {
            format!("{} is in {}.\n", self.user, self.group)
        } else {
            format!("{} was in {} already.\n", self.user, self.group)
        };
        report(self.format, changed, &self.group, &text)
    }

    async fn leave(self, context: &Context) -> anyhow::Result<()> {
        let changed = match context.server() {
            Some(server) => self.at(server).delete(&self.below()).await?.changed,
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let changed = registrar
                    .leave_group(&actor(), &self.group, &self.user)
                    .await?;
                session.finish().await?;
                changed
            }
        };
        let text = if changed {
            format!("{} is no longer in {}.\n", self.user, self.group)
        } else {
            format!("{} was not in {}.\n", self.user, self.group)
        };
        report(self.format, changed, &self.group, &text)
    }
}

async fn list(context: &Context, format: Format) -> anyhow::Result<()> {
    let listed: Vec<views::Group> = match context.server() {
        Some(server) => server.list("/groups").await?,
        None => {
            let session = context.open().await?;
            let groups = session.store.list_groups().await?;
            session.store.close().await;
            let groups = groups.iter();
            groups
                .map(|(name, group)| views::Group::new(name, group))
                .collect()
        }
    };
    if format.json {
        return output::json(&listed);
    }
    if listed.is_empty() {
        output::note("no groups yet; `egret group add NAME` adds one");
        return Ok(());
    }
    let rows: Vec<[String; 3]> = listed
        .iter()
        .map(|group| {
            [
                group.name.clone(),
                group.members.join(", "),
                output::printable(&group.description),
            ]
        })
        .collect();
    output::print(&output::table(["NAME", "MEMBERS", "DESCRIPTION"], &rows))
}

fn report(format: Format, changed: bool, name: &GroupName, text: &str) -> anyhow::Result<()> {
    let name = name.as_str();
    output::data(format, &views::PersonChange { changed, name }, || {
        text.to_owned()
    })
}
