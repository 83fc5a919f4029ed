//! Recent usage as CSV (RFC 4180).

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header;

use super::facts::Asked;
use super::filter::Wanted;
use super::list::INDEX_WAIT;
use crate::admin::AdminContext;
use crate::ledger::export::csv_text;
use crate::ledger::usage::{UsageIndex, UsageLine};
use crate::page::failure::Failure;
use crate::page::visit::Visit;

/// Most lines of a file: as many as the index keeps of one credential.
const MOST: u32 = 10_000;

const HEAD: &str = "line,time,event,action,run,client,user,method,destination,path,places,version,\
                    outcome,duration_ms\r\n";

pub(super) async fn csv(
    State(context): State<AdminContext>,
    visit: Visit,
    Path((owner, slug)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let Visit {
        person,
        sight,
        fields,
    } = visit;
    let asked = Asked::seen(sight, &owner, &slug)?;
    let credential = &asked.credential;
    let sees_all = credential.owner == *person.name() || asked.sight.sees_all();
    let only = (!sees_all).then(|| person.name());
    let filter = Wanted::of(&fields).filter(only);
    let dir = context.settings().config.ledger_dir();
    let mut index = UsageIndex::open_within(&dir, INDEX_WAIT).await?;
    let id = (credential.owner.as_str(), credential.slug.as_str());
    let lines = index.lines(id, &filter, None, MOST).await?;
    index.leave();
    let mut text = HEAD.to_owned();
    for line in &lines {
        text.push_str(&record(line));
    }
    let fields = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            // A slug has letters, digits, `-` and `_` alone.
            format!("attachment; filename=\"{slug}-usage.csv\""),
        ),
    ];
    Ok((fields, text).into_response())
}

fn record(line: &UsageLine) -> String {
    let used = &line.line;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
    let event = if line.refused { "denied" } else { "use" };
    let cells = [
        used.seq.to_string(),
        used.time.to_string(),
        event.to_owned(),
        text(&used.action),
        text(&used.run),
        text(&used.client),
        text(&used.principal),
        text(&used.method),
        text(&used.destination),
        text(&used.path),
        line.places.clone(),
        number(used.version.map(u64::from)),
        text(&used.outcome),
        number(line.duration_ms),
    ];
    let cells: Vec<_> = cells.iter().map(|cell| csv_text(cell)).collect();
    cells.join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Timestamp;
    use crate::ledger::usage::RecentUse;

    #[test]
    fn a_cell_is_never_a_formula_or_two() {
        let line = UsageLine {
            line: RecentUse {
                seq: 7,
                time: Timestamp::from_unix_micros(0),
                request: None,
                field: None,
                version: None,
                principal: None,
                client: None,
                action: Some("=HYPERLINK(\"x\"),\"y\"".to_owned()),
                run: Some("a,b".to_owned()),
                method: None,
                destination: None,
                path: None,
                outcome: None,
            },
            refused: false,
            places: "header:authorization".to_owned(),
            duration_ms: Some(3),
            first: Vec::new(),
        };
        let text = record(&line);
        assert!(text.starts_with("7,1970-01-01T00:00:00.000000Z,use,\"'=HYPERLINK(\"\"x\"\")"));
        assert!(text.contains(",\"a,b\",") && text.ends_with(",3\r\n"));
        assert_eq!(HEAD.matches(',').count(), 13);
    }
}
