//! Uses and refusals by hour, which a chart and its filters need. Pure.

use std::collections::HashMap;

use crate::ledger::format::record_ref::RecordRef;

/// Microseconds of an hour.
pub(super) const HOUR: i64 = 3_600_000_000;

/// What is counted together: the lines of an hour that differ in nothing a filter asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    /// The place of owner, slug and action in [`Tally::counts`](super::tally::Tally::counts).
    pub(super) at: usize,
    /// Hours since the epoch.
    pub(super) hour: i64,
    pub(super) client: String,
    pub(super) principal: String,
    pub(super) destination: String,
    /// 0 for a refusal, which has none.
    pub(super) version: u32,
}

impl Cell {
    pub(super) fn new(at: usize, time: i64, view: &RecordRef<'_>) -> Self {
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            at,
            hour: time.div_euclid(HOUR),
            client: owned(view.client.as_deref()),
            principal: owned(view.principal.as_deref()),
            destination: owned(view.destination.as_deref()),
            version: view.version.unwrap_or_default(),
        }
    }
}

/// How a request ended: a code, a status, or another word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Status(u16),
    Word(String),
}

impl Outcome {
    /// As the index has it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Word(word) => word.clone(),
        }
    }
}

/// How the lines of a cell ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Uses without a result.
    pub(super) open: i64,
    /// Uses by result.
    pub(super) ended: Vec<(Outcome, i64)>,
    /// Refusals by code.
    pub(super) refused: Vec<(Outcome, i64)>,
}

/// The cells of a batch.
#[derive(Debug, Default)]
pub(super) struct Cells {
    places: HashMap<Cell, usize>,
    pub(super) list: Vec<(Cell, Ends)>,
}

impl Cells {
    /// The place of a cell in `list`.
    pub(super) fn place(&mut self, cell: Cell) -> usize {
        if let Some(&place) = self.places.get(&cell) {
            return place;
        }
        let place = self.list.len();
        self.list.push((cell.clone(), Ends::default()));
        self.places.insert(cell, place);
        place
    }
}
