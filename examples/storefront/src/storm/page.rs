//! The report: one HTML file that needs nothing but itself.

use std::time::Duration;

use super::{
    attack::Attack,
    chart::{Axis, Line, logarithmic, svg},
    finding::{Finding, lateness, time},
    outage::Outage,
    plan::Plan,
    replay::Replay,
    results::Results,
    table::{self, Table},
    verdict::Target,
};

const STYLE: &str = include_str!("page.css");

/// The left half of the range that latencies are shown in; its right half is the client's patience.
const FASTEST: Duration = Duration::from_micros(200);

/// Of each slice of the measurement the worst payment is shown.
const SLICE: Duration = Duration::from_millis(250);

/// The report about these results.
#[must_use]
pub(super) fn page(results: &Results, targets: &[Target], plan: &Plan) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let targets = list(targets);
    let parts = [
        results
            .isolation
            .as_ref()
            .map(|findings| isolation(findings, plan, cores)),
        results.outage.as_ref().map(outage),
        results.attack.as_ref().map(attack),
        results.replay.as_ref().map(replay),
    ];
    let parts: String = parts.into_iter().flatten().collect();
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>storefront storm</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<h1>The storefront in a storm</h1>
{targets}{parts}</main>
</body>
</html>
"#
    )
}

fn isolation(findings: &[Finding], plan: &Plan, cores: usize) -> String {
    let [summary, table, legend, conditions] = [
        summary(findings),
        html_table(findings),
        legend(findings),
        conditions(findings, plan, cores),
    ];
    let (by_percentile, over_time) = (by_percentile(findings, plan), over_time(findings, plan));
    format!(
        r#"<h2>Payments while analytics burns</h2>
{summary}<div class="wide">
{table}</div>
{legend}<h3>How long payments took</h3>
<p>Each point of a line says: this part of the payments was at least this fast. The further right, the fewer were slower.</p>
<figure>
{by_percentile}</figure>
<h3>The worst payment of each quarter of a second</h3>
<figure>
{over_time}</figure>
<h3>What was measured</h3>
{conditions}"#
    )
}

/// A part that is a few words and tables.
fn tables<const N: usize>(title: &str, words: &str, tables: [Table; N]) -> String {
    let tables: String = tables
        .into_iter()
        .map(|table| format!("<div class=\"wide\">\n{}</div>\n", plain(table)))
        .collect();
    format!("<h2>{title}</h2>\n<p>{words}</p>\n{tables}")
}

fn outage(outage: &Outage) -> String {
    tables(
        "Payments while their authoriser hangs, dies and returns",
        "A circuit breaker, a deadline of 500 ms and a bulkhead are between the two.",
        [outage.payments(), outage.circuit()],
    )
}

fn attack(attack: &Attack) -> String {
    tables(
        "What an attacker costs once it is banned",
        "Banned clients make the same connections to a service that turns them away at one depth after the other; told is \
         the processor time of all its threads, for one connection. Then one attacker asks faster than it may, is \
         banned, and goes on, while customers pay.",
        [attack.costs(), attack.payments(), attack.attacker()],
    )
}

fn replay(replay: &Replay) -> String {
    let mut html = tables(
        "What the firewall stops, and what it costs",
        "Each request is from an address of its own, so that it is the firewall that stops it and no ban. Then the same \
         payments and look-ups go to the shop with and without the firewall, one right after the other.",
        [replay.stops(), replay.costs()],
    );
    let surprises: String = replay
        .surprises()
        .map(|surprise| format!("<li><code>{}</code></li>\n", escaped(&surprise)))
        .collect();
    if !surprises.is_empty() {
        html += &format!(
            "<h3>What came out the wrong way</h3>\n<ul class=\"surprises\">\n{surprises}</ul>\n"
        );
    }
    html
}

/// As text: attacks are in there.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn summary(findings: &[Finding]) -> String {
    let [idle, unprotected, _, fusebox] = findings else {
        return String::new();
    };
    let [_, idle_p99, _] = idle.percentiles();
    let [_, unprotected_p99, _] = unprotected.percentiles();
    let [_, fusebox_p99, _] = fusebox.percentiles();
    format!(
        "<p class=\"lead\">Of 100 payments, 99 took at most <b>{idle_p99}</b> while the service was idle. Under \
         the flood it was <b class=\"none\">{unprotected_p99}</b> without fusebox ({} paid), and \
         <b class=\"fusebox\">{fusebox_p99}</b> with it ({} paid).</p>\n",
        unprotected.success(),
        fusebox.success()
    )
}

fn list(targets: &[Target]) -> String {
    let mut list = "<ul class=\"targets\">\n".to_owned();
    for target in targets {
        let (class, word) = if target.met {
            ("met", "met")
        } else {
            ("missed", "missed")
        };
        list += &format!(
            "<li class=\"{class}\"><b>{word}</b> {}: {} (target {})</li>\n",
            target.name,
            target.measured,
            escaped(&target.limit)
        );
    }
    list + "</ul>\n"
}

fn html_table(findings: &[Finding]) -> String {
    let mut html = "<table>\n<thead><tr>".to_owned();
    for title in table::head() {
        html += &format!("<th scope=\"col\">{title}</th>");
    }
    html += "</tr></thead>\n<tbody>\n";
    for (row, finding) in table::rows(findings).iter().zip(findings) {
        html += &format!("<tr class=\"{}\">", finding.scenario.key);
        for (column, cell) in row.iter().enumerate() {
            html += &if column == 0 {
                format!("<th scope=\"row\">{cell}</th>")
            } else {
                format!("<td>{cell}</td>")
            };
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table>\n"
}

/// A table without colours.
fn plain(table: Table) -> String {
    let cell = |(column, cell): (usize, &String)| {
        if column == 0 {
            format!("<th scope=\"row\">{}</th>", escaped(cell))
        } else {
            format!("<td>{}</td>", escaped(cell))
        }
    };
    let mut html = "<table>\n<thead><tr>".to_owned();
    for title in &table.head {
        html += &format!("<th scope=\"col\">{title}</th>");
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        let cells: String = row.iter().enumerate().map(cell).collect();
        html += &format!("<tr>{cells}</tr>\n");
    }
    html + "</tbody>\n</table>\n"
}

fn legend(findings: &[Finding]) -> String {
    let mut legend = "<ul class=\"legend\">\n".to_owned();
    for finding in findings {
        legend += &format!(
            "<li><svg viewBox=\"0 0 36 8\" aria-hidden=\"true\"><line class=\"line {}\" x1=\"0\" x2=\"36\" \
             y1=\"4\" y2=\"4\"/></svg>{}</li>\n",
            finding.scenario.key, finding.scenario.title
        );
    }
    legend + "</ul>\n"
}

fn by_percentile(findings: &[Finding], plan: &Plan) -> String {
    let most = findings
        .iter()
        .map(|finding| finding.payments.sent())
        .max()
        .unwrap_or_default();
    // One in so many: 2 is the median, 100 the 99th percentile.
    let rarest = f64::from(u32::try_from(most.max(2)).unwrap_or(u32::MAX));
    let x = Axis {
        title: "percentile of the payments".to_owned(),
        ticks: [
            (1.0, "0"),
            (2.0, "50"),
            (10.0, "90"),
            (100.0, "99"),
            (1_000.0, "99.9"),
        ]
        .into_iter()
        .filter(|(one_in, _)| *one_in <= rarest)
        .map(|(one_in, label)| (logarithmic(one_in, (1.0, rarest)), label.to_owned()))
        .collect(),
    };
    let lines: Vec<Line> = findings
        .iter()
        .map(|finding| {
            let ranks = finding.payments.latencies();
            line(
                finding,
                ranks.ranks().map(|(below, latency)| {
                    let one_in = 1.0 / (1.0 - below);
                    (logarithmic(one_in, (1.0, rarest)), height(latency, plan))
                }),
            )
        })
        .collect();
    svg("latency by percentile", &x, &latency_axis(plan), &lines)
}

fn over_time(findings: &[Finding], plan: &Plan) -> String {
    let length = plan.measured.as_secs_f64();
    let seconds = plan.measured.as_secs();
    let x = Axis {
        title: "seconds from the start of the measurement".to_owned(),
        ticks: (0..=seconds)
            .step_by(2)
            .map(|second| {
                let at = Duration::from_secs(second).as_secs_f64() / length;
                (at, second.to_string())
            })
            .collect(),
    };
    let lines: Vec<Line> = findings
        .iter()
        .map(|finding| {
            let slices = finding.payments.worst_by_slice(SLICE);
            line(
                finding,
                slices.into_iter().map(|(start, worst)| {
                    let middle = (start + SLICE / 2).as_secs_f64() / length;
                    (middle.min(1.0), height(worst, plan))
                }),
            )
        })
        .collect();
    svg("worst latency over time", &x, &latency_axis(plan), &lines)
}

fn line(finding: &Finding, points: impl Iterator<Item = (f64, f64)>) -> Line {
    Line {
        class: finding.scenario.key,
        label: finding.scenario.title,
        points: points.collect(),
    }
}

fn height(latency: Duration, plan: &Plan) -> f64 {
    let range = (FASTEST.as_secs_f64(), plan.patience.as_secs_f64());
    logarithmic(latency.as_secs_f64(), range)
}

fn latency_axis(plan: &Plan) -> Axis {
    let decades = [1, 10, 100, 1_000].map(Duration::from_millis);
    let mut ticks: Vec<(f64, String)> = decades
        .into_iter()
        .filter(|latency| *latency < plan.patience)
        .map(|latency| (height(latency, plan), setting(latency)))
        .collect();
    ticks.push((1.0, format!("≥ {}", setting(plan.patience))));
    Axis {
        title: "latency".to_owned(),
        ticks,
    }
}

/// A length of time that somebody chose: a few milliseconds or a few seconds, and no more digits than that.
fn setting(length: Duration) -> String {
    match length.as_millis() {
        ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

fn conditions(findings: &[Finding], plan: &Plan, cores: usize) -> String {
    format!(
        "<p>{cores} processors, shared by the service and the client that measures it. {} payments a second, sent \
         when they are due whatever became of those before, and timed from then; after {} a client gives up, and \
         a payment that failed counts with all of that time. {} analytics clients, each with one request under \
         way, which waits {} and then computes for {} on the thread that it runs on; a client that is turned away \
         asks again after {}. Measured for {}, after {} of the same. The client itself sent 99 of 100 payments at most \
         {} late.</p>\n",
        plan.rate,
        setting(plan.patience),
        plan.flood,
        setting(plan.strain.delay),
        setting(plan.strain.cpu),
        setting(plan.pause),
        setting(plan.measured),
        setting(plan.onset),
        time(lateness(findings)),
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::{plan::SCENARIOS, results::tests::results},
        *,
    };

    fn report() -> String {
        let results = results();
        page(&results, &results.judge(), &Plan::FULL)
    }

    #[test]
    fn needs_nothing_but_itself() {
        let page = report();
        for elsewhere in [
            "href=", "url(", "@import", "<script", "<link", "src=\"", "<img",
        ] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn every_scenario_is_in_the_table_the_legend_and_both_charts() {
        let page = report();
        for scenario in SCENARIOS {
            let row = format!("<tr class=\"{}\">", scenario.key);
            assert_eq!(page.matches(&row).count(), 1, "{}", scenario.key);
            let line = format!("class=\"line {}\"", scenario.key);
            assert_eq!(page.matches(&line).count(), 3, "{}", scenario.key);
            assert!(
                STYLE.contains(&format!(".line.{}", scenario.key)),
                "{}",
                scenario.key
            );
        }
    }

    #[test]
    fn every_tag_that_is_opened_is_closed() {
        let page = report();
        for tag in [
            "html", "head", "body", "main", "table", "tr", "th", "td", "ul", "li", "svg", "p", "b",
            "text", "h1", "h2", "h3", "code", "div",
        ] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn a_missed_target_is_told() {
        let page = report();
        assert!(page.contains("<li class=\"missed\"><b>missed</b> storm/flooded-success: 99.7%"));
        assert!(page.contains("(target &lt;=2.0)"));
    }

    #[test]
    fn a_report_without_findings_is_still_a_page() {
        assert!(page(&Results::default(), &[], &Plan::QUICK).contains("</html>"));
    }
}
