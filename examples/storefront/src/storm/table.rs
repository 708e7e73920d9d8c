//! The findings as one table: Markdown, laid out so that it can be read as it stands.

use super::finding::{Cpu, Finding, PERCENTILES};

/// Any table: names in the first column, numbers in the others.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The title of each column.
    pub(super) head: Vec<String>,
    /// As many cells in each.
    pub(super) rows: Vec<Vec<String>>,
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&lay_out(&self.head, &self.rows))
    }
}

/// The head of the table.
#[must_use]
pub(super) fn head() -> Vec<String> {
    let mut head = vec!["payments while analytics is".to_owned()];
    head.extend(PERCENTILES.iter().map(|(_, name)| (*name).to_owned()));
    head.extend(
        [
            "p99 / idle",
            "success",
            "analytics answered",
            "refused",
            "CPUs: service",
            "client",
        ]
        .map(str::to_owned),
    );
    head
}

/// One row for each finding; the first is what the others are compared to.
#[must_use]
pub(super) fn rows(findings: &[Finding]) -> Vec<Vec<String>> {
    let Some(idle) = findings.first() else {
        return Vec::new();
    };
    findings.iter().map(|finding| row(finding, idle)).collect()
}

fn row(finding: &Finding, idle: &Finding) -> Vec<String> {
    let count =
        |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |count| count.to_string());
    let processors =
        |used: Option<f64>| used.map_or_else(|| "–".to_owned(), |used| format!("{used:.2}"));
    let Cpu { service, client } = finding.cpu;
    let mut row = vec![finding.scenario.title.to_owned()];
    row.extend(finding.percentiles());
    row.extend([
        finding.p99_over(idle),
        finding.success(),
        count(finding.analytics.map(|analytics| analytics.answered)),
        count(finding.analytics.map(|analytics| analytics.refused)),
        processors(service),
        processors(client),
    ]);
    row
}

/// The whole table, as text.
#[must_use]
pub(super) fn text(findings: &[Finding]) -> String {
    lay_out(&head(), &rows(findings))
}

fn lay_out(head: &[String], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .chain([title])
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();

    let mut text = line(head, &widths);
    for (column, width) in widths.iter().enumerate() {
        // Names stand left, numbers right.
        text += "|";
        text += &if column == 0 {
            "-".repeat(width + 2)
        } else {
            "-".repeat(width + 1) + ":"
        };
    }
    text += "|\n";
    for row in rows {
        text += &line(row, &widths);
    }
    text
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        line += &if column == 0 {
            format!("| {cell:<width$} ")
        } else {
            format!("| {cell:>width$} ")
        };
    }
    line + "|\n"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            finding::tests::finding,
            plan::{FUSEBOX, IDLE, UNPROTECTED},
        },
        *,
    };

    #[test]
    fn columns_line_up_and_every_number_has_its_place() {
        let findings = [
            finding(IDLE, Duration::from_micros(2_500), (1_000, 0)),
            finding(UNPROTECTED, Duration::from_secs(2), (1_000, 990)),
            finding(FUSEBOX, Duration::from_micros(4_000), (1_000, 0)),
        ];
        assert_eq!(
            text(&findings),
            "\
| payments while analytics is |      p50 |      p99 |    p99.9 | p99 / idle | success | analytics answered | refused | CPUs: service | client |
|-----------------------------|---------:|---------:|---------:|-----------:|--------:|-------------------:|--------:|--------------:|-------:|
| idle                        |  2.50 ms |  2.50 ms |  2.50 ms |       1.0× |   100 % |                  – |       – |          1.80 |   0.06 |
| flooded, without fusebox    | ≥ 5.00 s | ≥ 5.00 s | ≥ 5.00 s |    ≥ 2000× |   1.0 % |                 40 |    2000 |          1.80 |   0.06 |
| flooded, with fusebox       |  4.00 ms |  4.00 ms |  4.00 ms |       1.6× |   100 % |                 40 |    2000 |          1.80 |   0.06 |
"
        );
    }

    #[test]
    fn there_is_a_head_without_rows() {
        assert_eq!(text(&[]).lines().count(), 2);
    }
}
