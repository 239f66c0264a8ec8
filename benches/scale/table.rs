//! Tables in Markdown, and curves of their columns as SVG.

use std::fmt::Write as _;

/// Pixels of one curve with what is around it, and of its plot.
const PANEL: (f64, f64) = (270.0, 190.0);
const PLOT: (f64, f64) = (200.0, 110.0);
const LEFT: f64 = 55.0;
const TOP: f64 = 40.0;

/// Measurements of something that grows tenfold from row to row.
pub struct Table {
    title: &'static str,
    /// What grows.
    axis: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<(u64, Vec<f64>)>,
}

impl Table {
    pub fn new(title: &'static str, axis: &'static str, columns: &[&'static str]) -> Self {
        Self { title, axis, columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn add(&mut self, size: u64, values: &[f64]) {
        eprintln!("{}: {size} {}: {values:.1?}", self.title, self.axis);
        self.rows.push((size, values.to_vec()));
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n| {} | {} |\n", self.title, self.axis, self.columns.join(" | "));
        text += &format!("|---|{}\n", "---|".repeat(self.columns.len()));
        for (size, values) in &self.rows {
            let values: Vec<_> = values.iter().map(|value| number(*value)).collect();
            let _ = writeln!(text, "| {} | {} |", grouped(*size), values.join(" | "));
        }
        text
    }

    /// One curve for each column, side by side, over a logarithmic axis.
    fn curves(&self, y: f64) -> String {
        let mut svg = format!(r#"<text x="10" y="{:.0}" font-weight="bold">{}</text>"#, y + 18.0, self.title);
        for (i, column) in self.columns.iter().enumerate() {
            let values: Vec<f64> = self.rows.iter().map(|(_, values)| values[i]).collect();
            svg += &self.curve((i as f64 * PANEL.0, y), column, &values);
        }
        svg
    }

    fn curve(&self, (x, y): (f64, f64), column: &str, values: &[f64]) -> String {
        let (left, top, bottom) = (x + LEFT, y + TOP, y + TOP + PLOT.1);
        let most = values.iter().copied().fold(0.0, f64::max);
        let log = |size: u64| (size as f64).log10();
        let (first, last) = (self.rows.first().map_or(0, |row| row.0), self.rows.last().map_or(0, |row| row.0));
        let at = |(size, _): &(u64, Vec<f64>), value: f64| {
            let part = if first == last { 0.5 } else { (log(*size) - log(first)) / (log(last) - log(first)) };
            (left + part * PLOT.0, bottom - value / most.max(f64::MIN_POSITIVE) * PLOT.1)
        };
        let mut svg = format!(
            r##"<text x="{left:.0}" y="{:.0}">{column}</text><path d="M{left:.0} {top:.0}V{bottom:.0}H{:.0}" fill="none" stroke="#888"/>"##,
            top - 6.0,
            left + PLOT.0
        );
        let label = |x: f64, y: f64, anchor: &str, text: &str| {
            format!(r##"<text x="{x:.0}" y="{y:.0}" text-anchor="{anchor}" fill="#555">{text}</text>"##)
        };
        svg += &label(left - 4.0, top + 4.0, "end", &number(most));
        svg += &label(left - 4.0, bottom, "end", "0");
        let points: Vec<_> = self.rows.iter().zip(values).map(|(row, value)| at(row, *value)).collect();
        for (row, (x, y)) in self.rows.iter().zip(&points) {
            svg += &format!(r##"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="#2a7f62"/>"##);
            svg += &label(*x, bottom + 15.0, "middle", &short(row.0));
        }
        let line: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        svg + &format!(r##"<polyline points="{}" fill="none" stroke="#2a7f62" stroke-width="2"/>"##, line.join(" "))
    }
}

/// The curves of all tables.
pub fn chart(tables: &[Table]) -> String {
    let width = tables.iter().map(|table| table.columns.len()).max().unwrap_or(0) as f64 * PANEL.0;
    let height = tables.len() as f64 * PANEL.1;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>"#
    );
    for (i, table) in tables.iter().enumerate() {
        svg += "\n";
        svg += &table.curves(i as f64 * PANEL.1);
    }
    svg + "\n</svg>\n"
}

/// Three digits or more.
fn number(value: f64) -> String {
    match value {
        100.0.. => grouped(value.round() as u64),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|part| String::from_utf8_lossy(part)).collect();
    parts.join(",")
}

fn short(number: u64) -> String {
    match number {
        1_000_000.. => format!("{}M", number / 1_000_000),
        1_000.. => format!("{}k", number / 1_000),
        _ => number.to_string(),
    }
}
