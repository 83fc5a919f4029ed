//! Parts of pages that are made from what the program says: between `<!-- generated: NAME -->` and
//! `<!-- end -->`.
//!
//! The test fails when they differ. `EGRET_UPDATE_DOCS=1 cargo test --test integration docs::` writes
//! them. Where a table has a column for people, its text is kept, and a new row without one fails.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::files;
use super::markdown::{Page, pages};
use super::tables::{self, Table};

/// A generated part of a page.
struct Part {
    page: PathBuf,
    name: String,
    /// What stands between the markers.
    text: String,
}

const END: &str = "<!-- end -->\n";

fn marker(name: &str) -> String {
    format!("<!-- generated: {name} -->\n")
}

fn parts(page: &Page) -> Vec<Part> {
    let mut parts = Vec::new();
    for (at, begun) in page.text.match_indices("<!-- generated: ") {
        let rest = &page.text[at + begun.len()..];
        let (name, rest) = rest.split_once(" -->\n").expect("a marker fills its line");
        let (text, _) = rest.split_once(END).expect("a generated part has an end");
        parts.push(Part {
            page: page.path.clone(),
            name: name.to_owned(),
            text: text.to_owned(),
        });
    }
    parts
}

impl Table {
    /// The table in Markdown. The last column of a row is the one given, or the one that `shown`
    /// has for the same row.
    fn render(&self, shown: &str) -> String {
        let kept = kept(shown);
        let mut text = format!("\n{}", line(&self.header));
        text.push_str(&line(&vec!["---".to_owned(); self.header.len()]));
        for row in &self.rows {
            let mut row = row.clone();
            if row.len() < self.header.len() {
                let key = row.last().cloned().unwrap_or_default();
                row.push(kept.get(&key).cloned().unwrap_or_default());
            }
            text.push_str(&line(&row));
        }
        text.push('\n');
        text
    }
}

fn line(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The last column of a table by the one before it.
fn kept(shown: &str) -> BTreeMap<String, String> {
    let rows = shown.lines().filter_map(|line| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let (rest, last) = cells.rsplit_once(" | ")?;
        let key = rest.rsplit(" | ").next()?;
        Some((key.to_owned(), last.trim().replace("\\|", "|")))
    });
    rows.collect()
}

#[tokio::test]
async fn generated_parts_are_what_the_program_says() {
    let is_update = std::env::var_os("EGRET_UPDATE_DOCS").is_some_and(|value| value == "1");
    let tables = tables::all().await;
    let mut found = Vec::new();
    let (mut differ, mut undescribed) = (Vec::new(), Vec::new());
    for page in pages() {
        let mut text = page.text.clone();
        for part in parts(&page) {
            let table = tables.iter().find(|table| table.name == part.name);
            let Some(table) = table else {
                panic!("{}: nothing generates {}", part.page.display(), part.name);
            };
            let rendered = table.render(&part.text);
            let empty = rendered.lines().filter(|row| row.ends_with(" |  |"));
            undescribed.extend(empty.map(str::to_owned));
            if rendered != part.text && !is_update {
                differ.push(format!("{} in {}", part.name, part.page.display()));
            }
            let old = format!("{}{}{END}", marker(&part.name), part.text);
            let new = format!("{}{rendered}{END}", marker(&part.name));
            text = text.replace(&old, &new);
            found.push(part.name);
        }
        if is_update && text != page.text {
            std::fs::write(files::root().join(&page.path), text).expect("write a page");
        }
    }
    let missing = tables.iter().filter(|table| !found.contains(&table.name));
    let missing: Vec<_> = missing.map(|table| &table.name).collect();
    assert!(missing.is_empty(), "on no page: {missing:?}");
    assert!(
        undescribed.is_empty(),
        "fill in the last column: {}",
        undescribed.join("\n")
    );
    assert!(
        differ.is_empty(),
        "not what the program says (EGRET_UPDATE_DOCS=1 writes it): {}",
        differ.join(", ")
    );
}

#[test]
fn text_for_people_is_kept_where_its_row_is() {
    let table = Table {
        name: "codes".to_owned(),
        header: ["status", "code", "when"].map(str::to_owned).to_vec(),
        rows: vec![
            vec!["400".to_owned(), "`new`".to_owned()],
            vec!["424".to_owned(), "`known`".to_owned()],
            vec!["500".to_owned(), "`given`".to_owned(), "here".to_owned()],
        ],
    };
    let shown = "\n| status | code | when |\n| --- | --- | --- |\n\
        | 403 | `known` | one \\| other |\n| 1 | `gone` | x |\n| 500 | `given` | there |\n\n";
    assert_eq!(
        table.render(shown),
        "\n| status | code | when |\n| --- | --- | --- |\n\
         | 400 | `new` |  |\n| 424 | `known` | one \\| other |\n| 500 | `given` | here |\n\n"
    );
}
