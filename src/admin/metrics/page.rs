//! The text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{Display, Write as _};

use crate::measure::{BOUNDS, Latency};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A label with its value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// What is being written. Writing to a string does not fail.
#[derive(Default)]
pub(super) struct Page(pub(super) String);

impl Page {
    /// Announces the samples of `name`.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample.
    pub(super) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"");
            self.label_value(text);
            self.0.push('"');
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }

    fn label_value(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '\\' | '"' => self.0.extend(['\\', letter]),
                '\n' => self.0.push_str("\\n"),
                _ => self.0.push(letter),
            }
        }
    }

    /// A number that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A number that grows and shrinks.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// The samples of a histogram.
    pub(super) fn histogram(&mut self, name: &str, labels: &[Label<'_>], latency: &Latency) {
        let bucket = format!("{name}_bucket");
        let bounds = BOUNDS.iter();
        let bounds = bounds
            .map(|&bound| micros_as_seconds(i64::try_from(bound).unwrap_or(i64::MAX)).to_string());
        let mut sum = 0;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(latency.buckets) {
            sum += count;
            let labels = [labels, &[("le", &*bound)]].concat();
            self.sample(&bucket, &labels, sum);
        }
        self.sample(&format!("{name}_sum"), labels, latency.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), labels, latency.count());
    }
}

#[allow(clippy::cast_precision_loss)] // Exact up to the year 2255.
pub(super) fn micros_as_seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_summed_up_and_end_with_all() {
        let mut latency = Latency::default();
        latency.buckets[0] = 2;
        latency.buckets[1] = 3;
        latency.buckets[BOUNDS.len()] = 4;
        let mut page = Page::default();
        page.histogram("x_seconds", &[("a", "b")], &latency);
        let lines: Vec<&str> = page.0.lines().collect();
        assert_eq!(lines[0], "x_seconds_bucket{a=\"b\",le=\"0.00005\"} 2");
        assert_eq!(lines[1], "x_seconds_bucket{a=\"b\",le=\"0.0001\"} 5");
        assert_eq!(lines[18], "x_seconds_bucket{a=\"b\",le=\"60\"} 5");
        assert_eq!(lines[19], "x_seconds_bucket{a=\"b\",le=\"+Inf\"} 9");
        assert_eq!(lines[20], "x_seconds_sum{a=\"b\"} 0");
        assert_eq!(lines[21], "x_seconds_count{a=\"b\"} 9");
    }

    #[test]
    fn a_label_cannot_end_its_quotes() {
        let mut page = Page::default();
        page.sample("x", &[("a", "\"} 1\nx{a=\"\\")], 2);
        assert_eq!(page.0, "x{a=\"\\\"} 1\\nx{a=\\\"\\\\\"} 2\n");
    }
}
