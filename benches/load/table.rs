//! The figures of a run, and the Markdown they become.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cells::Cell;
use crate::process::Cpu;
use crate::target::Target;

/// What one cell measured once.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Requests, connections or megabytes in a second.
    pub rate: Option<f64>,
    /// How many there were; of a bulk transfer, megabytes.
    pub count: u64,
    /// Median, 99th and 99.9th hundredth, in microseconds.
    pub latency: Option<[f64; 3]>,
    /// Resident memory in MiB: idle, with the first number of connections, with the second.
    pub memory: Option<[f64; 3]>,
    /// Requests that failed.
    pub errors: u64,
    /// CPU time of the measured part alone, where there is a run-in before it.
    pub cpu: Option<Cpu>,
    /// CPU seconds for what the proxy had left to do when the requests were over, as far as it was
    /// waited for.
    pub behind: Option<f64>,
}

impl Figures {
    /// One line for the terminal.
    pub fn brief(&self, cpu: &Cpu) -> String {
        let mut line = String::new();
        // Writing to a string does not fail.
        if let Some(rate) = self.rate {
            let _ = write!(line, "{rate:.0}/s  ");
        }
        if self.count > 0 {
            let per_thousand = cpu.proxy() * 1e6 / self.count as f64;
            let _ = write!(line, "{per_thousand:.1} ms CPU per 1,000  ");
        }
        let _ = write!(
            line,
            "CPU/client {:.2}  ",
            cpu.proxy() / cpu.client.max(0.01)
        );
        if let Some([p50, p99, p999]) = self.latency {
            let _ = write!(line, "p50 {p50:.0} p99 {p99:.0} p99.9 {p999:.0} us  ");
        }
        if let Some([idle, some, many]) = self.memory {
            let _ = write!(line, "{idle:.1} / {some:.1} / {many:.1} MiB  ");
        }
        let _ = write!(
            line,
            "errors {}  others {:.0} %",
            self.errors,
            100.0 * cpu.foreign()
        );
        line
    }
}

/// Every measurement of a run.
#[derive(Default)]
pub struct Results(BTreeMap<(String, Cell), Vec<(Figures, Cpu)>>);

/// One row: which cell, what of it, and how many digits behind the point.
struct Row {
    what: &'static str,
    cell: Cell,
    value: Value,
    digits: usize,
}

impl Results {
    /// Notes a measurement.
    pub fn add(&mut self, target: &str, cell: Cell, figures: Figures, cpu: Cpu) {
        let key = (target.to_owned(), cell);
        self.0.entry(key).or_default().push((figures, cpu));
    }

    /// The median over the repetitions.
    fn median(&self, target: &str, row: &Row) -> Option<f64> {
        let all = self.0.get(&(target.to_owned(), row.cell))?;
        let values = all
            .iter()
            .filter_map(|(figures, cpu)| (row.value)(figures, cpu));
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
        Some(f64::midpoint(values[low], values[high]))
    }

    /// The table, with a column for each target and one for Egret over the floor.
    pub fn markdown(&self, targets: &[Target]) -> String {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        let mut text = format!("| | {} | egret / floor |\n", names.join(" | "));
        text += &format!("|---|{}\n", "---:|".repeat(names.len() + 1));
        for row in rows() {
            let values: Vec<_> = names.iter().map(|name| self.median(name, &row)).collect();
            if values.iter().all(Option::is_none) {
                continue;
            }
            let cells: Vec<String> = values.iter().map(|v| number(*v, row.digits)).collect();
            let ratio = self.median("egret", &row).zip(self.median("floor", &row));
            let ratio = number(ratio.map(|(egret, floor)| egret / floor), 2);
            text += &format!("| {} | {} | {ratio} |\n", row.what, cells.join(" | "));
        }
        let errors: u64 = self
            .0
            .values()
            .flatten()
            .map(|(figures, _)| figures.errors)
            .sum();
        let foreign = self.0.values().flatten().map(|(_, cpu)| cpu.foreign());
        let mut foreign: Vec<f64> = foreign.collect();
        foreign.sort_by(f64::total_cmp);
        let middle = foreign.get(foreign.len() / 2).copied().unwrap_or(0.0);
        let _ = write!(
            text,
            "\nMedians; failed requests: {errors}; other programs took {:.0} % of the machine \
             (median over cells).\n",
            100.0 * middle
        );
        text
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

fn rate(figures: &Figures, _: &Cpu) -> Option<f64> {
    figures.rate
}

fn cpu_per_thousand(figures: &Figures, cpu: &Cpu) -> Option<f64> {
    let used = cpu.proxy() > 0.0 && figures.count > 0;
    used.then(|| cpu.proxy() * 1e6 / figures.count as f64)
}

fn behind_per_thousand(figures: &Figures, _: &Cpu) -> Option<f64> {
    Some(figures.behind? * 1e6 / figures.count as f64)
}

fn cpu_by_client(_: &Figures, cpu: &Cpu) -> Option<f64> {
    (cpu.proxy() > 0.0).then(|| cpu.proxy() / cpu.client)
}

fn cpu_by_origin(_: &Figures, cpu: &Cpu) -> Option<f64> {
    (cpu.proxy() > 0.0).then(|| cpu.proxy() / cpu.origin)
}

fn p50(figures: &Figures, _: &Cpu) -> Option<f64> {
    figures.latency.map(|latency| latency[0])
}

fn p99(figures: &Figures, _: &Cpu) -> Option<f64> {
    figures.latency.map(|latency| latency[1])
}

fn p999(figures: &Figures, _: &Cpu) -> Option<f64> {
    figures.latency.map(|latency| latency[2])
}

fn memory_idle(figures: &Figures, _: &Cpu) -> Option<f64> {
    figures.memory.map(|memory| memory[0])
}

fn memory_some(figures: &Figures, _: &Cpu) -> Option<f64> {
    figures.memory.map(|memory| memory[1])
}

fn memory_many(figures: &Figures, _: &Cpu) -> Option<f64> {
    figures.memory.map(|memory| memory[2])
}

type Value = fn(&Figures, &Cpu) -> Option<f64>;

fn row(what: &'static str, cell: Cell, value: Value, digits: usize) -> Row {
    Row {
        what,
        cell,
        value,
        digits,
    }
}

fn rows() -> Vec<Row> {
    let groups = [
        request_rows(),
        connection_rows(),
        transfer_rows(),
        memory_rows(),
    ];
    groups.into_iter().flatten().collect()
}

fn request_rows() -> Vec<Row> {
    vec![
        row(
            "keep-alive requests/s, 32 connections",
            Cell::Requests(32, true),
            rate,
            0,
        ),
        row(
            "proxy CPU ms per 1,000 requests",
            Cell::Requests(32, true),
            cpu_per_thousand,
            1,
        ),
        row(
            "left to do afterwards",
            Cell::Requests(32, true),
            behind_per_thousand,
            1,
        ),
        row(
            "CPU / client CPU",
            Cell::Requests(32, true),
            cpu_by_client,
            2,
        ),
        row("p50 us, 32 connections", Cell::Requests(32, true), p50, 0),
        row("p99", Cell::Requests(32, true), p99, 0),
        row("p99.9", Cell::Requests(32, true), p999, 0),
        row(
            "without a placeholder: requests/s",
            Cell::Requests(32, false),
            rate,
            0,
        ),
        row(
            "CPU / client CPU",
            Cell::Requests(32, false),
            cpu_by_client,
            2,
        ),
        row("1 connection: p50 us", Cell::Requests(1, true), p50, 0),
        row("p99", Cell::Requests(1, true), p99, 0),
        row(
            "without a placeholder: p50",
            Cell::Requests(1, false),
            p50,
            0,
        ),
        row(
            "256 connections: requests/s",
            Cell::Requests(256, true),
            rate,
            0,
        ),
        row("without a placeholder", Cell::Requests(256, false), rate, 0),
        row(
            "32 connections beside 9,900 open tunnels: requests/s",
            Cell::Crowded,
            rate,
            0,
        ),
        row("CPU / client CPU", Cell::Crowded, cpu_by_client, 2),
        row("open loop at 2,000/s: p50 us", Cell::Paced, p50, 0),
        row("p99", Cell::Paced, p99, 0),
        row("p99.9", Cell::Paced, p999, 0),
        row(
            "plain http requests/s, 32 connections",
            Cell::Plain,
            rate,
            0,
        ),
        row("h2 requests/s, 4 x 16 streams", Cell::H2, rate, 0),
        row("CPU / client CPU", Cell::H2, cpu_by_client, 2),
        row("p99 us", Cell::H2, p99, 0),
    ]
}

fn connection_rows() -> Vec<Row> {
    vec![
        row(
            "new connections/s (TCP, CONNECT, TLS, GET), warm host",
            Cell::Warm,
            rate,
            0,
        ),
        row("CPU / client CPU", Cell::Warm, cpu_by_client, 2),
        row("resumed", Cell::Resumed, rate, 0),
        row("cold hosts", Cell::Cold, rate, 0),
        row("CPU / client CPU", Cell::Cold, cpu_by_client, 2),
        row("1,000 cold hosts at once, /s", Cell::Flood, rate, 0),
        row("warm requests meanwhile: p50 us", Cell::Flood, p50, 0),
        row("p99", Cell::Flood, p99, 0),
    ]
}

fn transfer_rows() -> Vec<Row> {
    vec![
        row(
            "upload MB/s, a placeholder per MiB",
            Cell::Upload(true),
            rate,
            0,
        ),
        row(
            "proxy CPU ms per GB",
            Cell::Upload(true),
            cpu_per_thousand,
            0,
        ),
        row("CPU / origin CPU", Cell::Upload(true), cpu_by_origin, 2),
        row("upload MB/s, binary", Cell::Upload(false), rate, 0),
        row(
            "proxy CPU ms per GB",
            Cell::Upload(false),
            cpu_per_thousand,
            0,
        ),
        row("download MB/s, text", Cell::Download, rate, 0),
        row("proxy CPU ms per GB", Cell::Download, cpu_per_thousand, 0),
        row("CPU / origin CPU", Cell::Download, cpu_by_origin, 2),
        row(
            "server-sent event, origin to client: p50 us",
            Cell::Events,
            p50,
            0,
        ),
        row("p99", Cell::Events, p99, 0),
    ]
}

fn memory_rows() -> Vec<Row> {
    vec![
        row("resident MiB, idle", Cell::Memory, memory_idle, 1),
        row("at 1,000 connections", Cell::Memory, memory_some, 1),
        row("at 10,000 connections", Cell::Memory, memory_many, 1),
    ]
}
