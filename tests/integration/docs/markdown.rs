//! As much of Markdown as the checks need: headings, links, code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files;

/// A page of the documentation.
pub struct Page {
    /// Relative to the top of the repository.
    pub path: PathBuf,
    pub text: String,
    /// The fenced code blocks, in order.
    pub blocks: Vec<Block>,
    /// What headings can be linked by, as GitHub makes it of their text.
    pub anchors: Vec<String>,
    /// Targets of links and images.
    pub links: Vec<Span>,
    /// Code inside a line.
    pub code: Vec<Span>,
}

/// Some text of a page and its line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub line: usize,
    pub text: String,
}

/// A fenced code block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The line of the opening fence, from 1.
    pub line: usize,
    /// What stands after the fence: the language and further words.
    pub info: String,
    pub text: String,
    /// The HTML comment on the lines before, with no other text between.
    pub comment: Option<String>,
}

impl Block {
    pub fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }

    /// Whether the info string has this word after the language.
    pub fn says(&self, word: &str) -> bool {
        self.info.split(' ').skip(1).any(|other| other == word)
    }
}

/// Every page of the repository.
pub fn pages() -> Vec<Page> {
    let markdown = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let pages: Vec<_> = files::all()
        .into_iter()
        .filter(markdown)
        .map(read)
        .collect();
    assert!(pages.len() > 3, "the pages were not found");
    pages
}

/// A page by its path.
pub fn page(path: &str) -> Page {
    read(PathBuf::from(path))
}

fn read(path: PathBuf) -> Page {
    let text = std::fs::read_to_string(files::root().join(&path)).expect("a page in UTF-8");
    parse(&path, text)
}

fn parse(path: &Path, text: String) -> Page {
    let mut page = Page {
        path: path.to_owned(),
        text: String::new(),
        blocks: Vec::new(),
        anchors: Vec::new(),
        links: Vec::new(),
        code: Vec::new(),
    };
    let mut counts = BTreeMap::new();
    let mut comment: Option<String> = None;
    let mut is_comment_open = false;
    let mut fence: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(block) = &mut fence {
            if line.trim() == "```" {
                page.blocks.extend(fence.take());
            } else {
                block.text.push_str(line);
                block.text.push('\n');
            }
        } else if is_comment_open {
            is_comment_open = !line.contains("-->");
            let known = comment.get_or_insert_default();
            known.push(' ');
            known.push_str(line.trim_end_matches("-->").trim());
        } else if let Some(info) = line.trim_start().strip_prefix("```") {
            fence = Some(Block {
                line: number,
                info: info.trim().to_owned(),
                text: String::new(),
                comment: comment.take(),
            });
        } else if let Some(begun) = line.trim_start().strip_prefix("<!--") {
            is_comment_open = !begun.contains("-->");
            comment = Some(begun.trim_end_matches("-->").trim().to_owned());
        } else {
            if !line.trim().is_empty() {
                comment = None;
            }
            if let Some(heading) = heading(line) {
                page.anchors.push(anchor(heading, &mut counts));
            }
            inline(line, number, &mut page);
        }
    }
    assert!(
        fence.is_none(),
        "{}: a code block is not closed",
        path.display()
    );
    page.text = text;
    page
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    let text = text.strip_prefix(' ')?;
    (1..=6).contains(&level).then_some(text)
}

/// The name of a heading's anchor, as GitHub makes it: lower case, without punctuation, hyphens for
/// spaces, and a number where the name is taken.
fn anchor(heading: &str, counts: &mut BTreeMap<String, usize>) -> String {
    let kept = heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect::<String>();
    let count = counts.entry(kept.clone()).or_insert(0);
    *count += 1;
    match *count {
        1 => kept,
        many => format!("{kept}-{}", many - 1),
    }
}

/// Collects the code spans and the links of one line of text.
fn inline(line: &str, number: usize, page: &mut Page) {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        text.push_str(&rest[..at]);
        let after = rest[at..].trim_start_matches('`');
        let ticks = &rest[at..rest.len() - after.len()];
        let Some(end) = after.find(ticks) else {
            text.push_str(ticks);
            rest = after;
            continue;
        };
        page.code.push(Span {
            line: number,
            text: after[..end].trim().to_owned(),
        });
        // Something must stand there, so that `[`code`](target)` stays a link.
        text.push('x');
        rest = &after[end + ticks.len()..];
    }
    text.push_str(rest);
    for (at, _) in text.match_indices("](") {
        let target = &text[at + 2..];
        if let Some(end) = target.find(')') {
            let target = target[..end].split(' ').next().unwrap_or_default();
            page.links.push(Span {
                line: number,
                text: target.to_owned(),
            });
        }
    }
}

#[test]
fn headings_links_and_code_are_found() {
    let text = "\
# Egret: a `<<slug>>`, twice
## The same
See [the page](other.md#part \"title\") and ![picture](a.png), not `[code](no.md)`.
[`code`](yes.md)

<!-- needs a server
elsewhere -->

```sh no-run
echo '# no heading, [no](link.md)'
```
## The same
```json
{}
```
";
    let page = parse(Path::new("a.md"), text.to_owned());
    assert_eq!(
        page.anchors,
        ["egret-a-slug-twice", "the-same", "the-same-1"]
    );
    let links: Vec<_> = page.links.iter().map(|link| &*link.text).collect();
    assert_eq!(links, ["other.md#part", "a.png", "yes.md"]);
    assert_eq!(page.links[0].line, 3);
    let code: Vec<_> = page.code.iter().map(|code| &*code.text).collect();
    assert_eq!(code, ["<<slug>>", "[code](no.md)", "code"]);
    assert_eq!(page.blocks.len(), 2);
    let block = &page.blocks[0];
    assert_eq!((block.language(), block.line), ("sh", 9));
    assert!(block.says("no-run") && !block.says("sh"));
    assert_eq!(block.comment.as_deref(), Some("needs a server elsewhere"));
    assert_eq!(block.text, "echo '# no heading, [no](link.md)'\n");
    assert_eq!(page.blocks[1].comment, None);
}
