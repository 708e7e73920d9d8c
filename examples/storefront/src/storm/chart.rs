//! Line charts as inline SVG: no script, no font, no address of anybody else's.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
/// Room for the labels of the axes.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 48.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 20.0;

/// Points closer together than this part of the width would fall into one pixel.
const RESOLUTION: f64 = 0.000_8;

/// A line: its points are parts of the axes, 0 to 1.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What the style sheet calls it.
    pub(super) class: &'static str,
    /// What a reader hears or sees when pointing at it.
    pub(super) label: &'static str,
    /// From left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// An axis: what it shows, and where along it, 0 to 1, stands what.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// With its unit.
    pub(super) title: String,
    /// Where and what.
    pub(super) ticks: Vec<(f64, String)>,
}

/// Where `value` is between `low` and `high` if each decade is as long as the next; 0 and 1 beyond them.
#[must_use]
pub(super) fn logarithmic(value: f64, (low, high): (f64, f64)) -> f64 {
    // A value that is not positive has no logarithm: it lies below every one that has.
    if value <= low {
        return 0.0;
    }
    ((value / low).log10() / (high / low).log10()).min(1.0)
}

/// The chart. The words in it are not escaped: they are all the program's own.
#[must_use]
pub(super) fn svg(name: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">"#);
    grid(&mut svg, x, y);
    for line in lines {
        let points = thinned(&line.points)
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y)))
            .collect::<Vec<_>>()
            .join(" ");
        push(
            &mut svg,
            format_args!(
                r#"<polyline class="line {}" points="{points}"><title>{}</title></polyline>"#,
                line.class, line.label
            ),
        );
    }
    svg + "</svg>\n"
}

fn grid(svg: &mut String, x: &Axis, y: &Axis) {
    let (left, right) = (across(0.0), across(1.0));
    let (bottom, top) = (up(0.0), up(1.0));
    for (at, label) in &y.ticks {
        let height = up(*at);
        push(
            svg,
            format_args!(
                r#"<line class="grid" x1="{left}" x2="{right}" y1="{height:.1}" y2="{height:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#,
                left - 8.0,
                height + 4.0
            ),
        );
    }
    for (at, label) in &x.ticks {
        let place = across(*at);
        push(
            svg,
            format_args!(
                r#"<line class="grid" x1="{place:.1}" x2="{place:.1}" y1="{bottom}" y2="{top}"/><text class="tick" x="{place:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#,
                bottom + 18.0
            ),
        );
    }
    push(
        svg,
        format_args!(
            r#"<text class="axis" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text class="axis" x="14" y="{:.1}" text-anchor="middle" transform="rotate(-90 14 {:.1})">{}</text>"#,
            across(0.5),
            HEIGHT - 8.0,
            x.title,
            up(0.5),
            up(0.5),
            y.title
        ),
    );
}

fn across(part: f64) -> f64 {
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn up(part: f64) -> f64 {
    HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
}

/// The points without those that nobody could tell from their left neighbour; the last one stays.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let last = points.len().saturating_sub(1);
    for (number, point) in points.iter().enumerate() {
        let apart = kept
            .last()
            .is_none_or(|before| point.0 - before.0 >= RESOLUTION);
        if apart || number == last {
            kept.push(*point);
        }
    }
    kept
}

fn push(svg: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = svg.write_fmt(part);
    svg.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decade_is_as_long_as_the_next() {
        let scale = (1.0, 1_000.0);
        for (value, at) in [
            (-1.0, 0.0),
            (0.0, 0.0),
            (1.0, 0.0),
            (10.0, 1.0 / 3.0),
            (100.0, 2.0 / 3.0),
            (1_000.0, 1.0),
            (1e9, 1.0),
        ] {
            assert!((logarithmic(value, scale) - at).abs() < 1e-12, "{value}");
        }
    }

    #[test]
    fn a_crowded_line_is_thinned_and_keeps_its_ends() {
        let many: Vec<(f64, f64)> = (0..=100_000).map(|n| (f64::from(n) / 1e5, 0.5)).collect();
        let few = thinned(&many);
        assert!(few.len() < 1_300, "{}", few.len());
        assert_eq!(few.first(), many.first());
        assert_eq!(few.last(), many.last());
        assert_eq!(thinned(&[]), []);
    }

    #[test]
    fn corners_are_where_they_belong() {
        let axis = Axis {
            title: "n".to_owned(),
            ticks: vec![(0.0, "zero".to_owned()), (1.0, "one".to_owned())],
        };
        let line = Line {
            class: "idle",
            label: "idle",
            points: vec![(0.0, 0.0), (1.0, 1.0)],
        };
        let svg = svg("corners", &axis, &axis, &[line]);
        assert!(svg.contains(r#"points="64.0,292.0 840.0,12.0""#), "{svg}");
        assert_eq!(svg.matches(">zero<").count(), 2);
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }
}
