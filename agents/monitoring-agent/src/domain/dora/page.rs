//! The report as one HTML page: numbers, what they were made of, plots. Nothing in it is loaded from elsewhere.

use std::fmt::Write as _;

use super::report::{LeftOut, Metric, Point, Report};

/// Style of the page, light and dark.
const STYLE: &str = include_str!("page/style.css");
/// Size of a plot.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 180.0;
/// Room for the numbers at the left and the dates below.
const LEFT: f64 = 56.0;
const BELOW: f64 = 24.0;
const ABOVE: f64 = 10.0;
/// Most dates below a plot.
const MOST_DATES: usize = 6;

/// The page.
pub fn page(report: &Report) -> String {
    let days = |text: String| text.get(..10).map(str::to_owned).unwrap_or(text);
    let (from, to) = (days(report.from.to_string()), days(report.to.to_string()));
    let title = format!("DORA metrics, {from} to {to}");
    let mut body = format!(
        "<header><h1>{}</h1><p>{} environments, {} definition, {}</p></header>",
        escape(&title),
        escape(&report.environment_tier),
        report.definition.as_str(),
        escape(&projects(&report.projects)),
    );
    body.push_str("<section class=\"tiles\">");
    for (name, metric) in metrics(report) {
        body.push_str(&tile(name, metric, report.clusters_of));
    }
    body.push_str("</section><section class=\"plots\">");
    for plot in plots(&report.series) {
        body.push_str(&plot.svg(&report.series));
    }
    body.push_str("</section>");
    body.push_str(&left_out(&report.left_out));
    let _ = write!(
        body,
        "<footer>Deployments reported by GitLab: {}, by jobs alone: {}, by the cluster: {}. Clusters are those of the {} report.</footer>",
        report.sources.gitlab, report.sources.job, report.sources.cluster, report.clusters_of
    );
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head><body>{body}</body></html>\n",
        escape(&title)
    )
}

fn metrics(report: &Report) -> [(&'static str, &Metric); 5] {
    [
        ("Deployment frequency", &report.deployment_frequency),
        ("Lead time for changes", &report.lead_time_for_changes),
        ("Change failure rate", &report.change_failure_rate),
        ("Time to restore", &report.time_to_restore),
        ("Rework rate", &report.rework_rate),
    ]
}

fn projects(names: &[String]) -> String {
    match names {
        [] => "no project".to_owned(),
        [one] => one.clone(),
        many => format!("{} projects", many.len()),
    }
}

/// Text as it may stand in HTML.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A number of seconds in the unit that suits it.
fn duration(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let fitting = units.iter().find(|(length, _)| seconds >= *length);
    fitting.map_or_else(
        || format!("{seconds:.0} s"),
        |(length, unit)| format!("{:.1} {unit}", seconds / length),
    )
}

fn value_of(metric: &Metric) -> String {
    match (metric.value, metric.unit.as_str()) {
        (None, _) => "–".to_owned(),
        (Some(value), "s") => duration(value),
        (Some(value), "ratio") => format!("{:.1} %", value * 100.0),
        (Some(value), _) => format!("{value:.2} / day"),
    }
}

fn tile(name: &str, metric: &Metric, year: u16) -> String {
    let cluster = metric.cluster.map(|level| {
        let word = level.as_str();
        format!("<span class=\"level {word}\" title=\"cluster of {year}\">{word}</span>")
    });
    format!(
        "<article><h2>{name}</h2><p class=\"value\">{}{}</p><p class=\"parts\">{} / {}</p><p class=\"meaning\">{}</p></article>",
        value_of(metric),
        cluster.unwrap_or_default(),
        metric.numerator,
        metric.denominator,
        escape(&metric.meaning),
    )
}

/// One plot over time.
struct Plot {
    title: &'static str,
    class: &'static str,
    bars: bool,
    label: fn(f64) -> String,
    values: Vec<Option<f64>>,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of events stay below 2^52"
)]
fn plots(series: &[Point]) -> [Plot; 4] {
    let count = |read: fn(&Point) -> u64| {
        series
            .iter()
            .map(|point| Some(read(point) as f64))
            .collect()
    };
    let number: fn(f64) -> String = |value| format!("{value:.0}");
    [
        Plot {
            title: "Deployments",
            class: "deployments",
            bars: true,
            label: number,
            values: count(|point| point.deployments),
        },
        Plot {
            title: "Median lead time",
            class: "lead",
            bars: false,
            label: duration,
            values: series.iter().map(|point| point.lead_time_seconds).collect(),
        },
        Plot {
            title: "Failures",
            class: "failures",
            bars: true,
            label: number,
            values: count(|point| point.failures),
        },
        Plot {
            title: "Median time to restore",
            class: "restore",
            bars: false,
            label: duration,
            values: series.iter().map(|point| point.restore_seconds).collect(),
        },
    ]
}

impl Plot {
    fn svg(&self, series: &[Point]) -> String {
        let top = top_of(
            self.values.iter().flatten().copied().fold(0.0, f64::max),
            self.bars,
        );
        let mut marks = String::new();
        for part in [0.0, 0.5, 1.0] {
            let (y, value) = (height_of(part), (self.label)(top * part));
            let _ = write!(
                marks,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                LEFT - 6.0,
                y + 4.0,
            );
        }
        marks.push_str(&self.dates(series));
        if self.bars {
            self.draw_bars(&mut marks, series, top);
        } else {
            self.draw_line(&mut marks, series, top);
        }
        format!(
            "<figure class=\"{}\"><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{marks}</svg></figure>",
            self.class, self.title, self.title
        )
    }

    fn dates(&self, series: &[Point]) -> String {
        let step = series.len().div_ceil(MOST_DATES).max(1);
        let mut dates = String::new();
        for (at, point) in series.iter().enumerate().step_by(step) {
            let text = point.start.to_string();
            let _ = write!(
                dates,
                "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.middle(at),
                HEIGHT - 6.0,
                text.get(5..10).unwrap_or_default(),
            );
        }
        dates
    }

    #[expect(clippy::cast_precision_loss, reason = "a plot has few points")]
    fn middle(&self, at: usize) -> f64 {
        LEFT + (at as f64 + 0.5) * self.step()
    }

    #[expect(clippy::cast_precision_loss, reason = "a plot has few points")]
    fn step(&self) -> f64 {
        (WIDTH - LEFT) / self.values.len().max(1) as f64
    }

    fn tip(&self, series: &[Point], at: usize, value: f64) -> String {
        let start = series
            .get(at)
            .map(|point| point.start.to_string())
            .unwrap_or_default();
        let day = start.get(..10).unwrap_or_default();
        format!("<title>{day}: {}</title>", (self.label)(value))
    }

    fn draw_bars(&self, marks: &mut String, series: &[Point], top: f64) {
        let width = (self.step() * 0.7).clamp(1.0, 36.0);
        for (at, value) in self.values.iter().enumerate() {
            let Some(value) = value.filter(|value| *value > 0.0) else {
                continue;
            };
            let y = height_of(value / top);
            let _ = write!(
                marks,
                "<rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"1.5\">{}</rect>",
                self.middle(at) - width / 2.0,
                height_of(0.0) - y,
                self.tip(series, at, value),
            );
        }
    }

    /// A line through neighbouring points; a gap where there is no number.
    fn draw_line(&self, marks: &mut String, series: &[Point], top: f64) {
        let mut path = String::new();
        let mut open = false;
        for (at, value) in self.values.iter().enumerate() {
            let Some(value) = *value else {
                open = false;
                continue;
            };
            let (x, y) = (self.middle(at), height_of(value / top));
            let _ = write!(path, "{}{x:.1},{y:.1} ", if open { 'L' } else { 'M' });
            open = true;
            let _ = write!(
                marks,
                "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\">{}</circle>",
                self.tip(series, at, value)
            );
        }
        let _ = write!(marks, "<path class=\"line\" d=\"{}\"/>", path.trim_end());
    }
}

/// The height at which a share of the top stands.
fn height_of(share: f64) -> f64 {
    let room = HEIGHT - BELOW - ABOVE;
    ABOVE + room * (1.0 - share.clamp(0.0, 1.0))
}

/// The top of the scale: an even number where whole things are counted, else a tenth above the largest value.
fn top_of(largest: f64, counts: bool) -> f64 {
    if counts {
        ((largest / 2.0).ceil() * 2.0).max(2.0)
    } else if largest > 0.0 {
        largest * 1.1
    } else {
        1.0
    }
}

fn left_out(all: &[LeftOut]) -> String {
    if all.is_empty() {
        return "<section><h2>Left out</h2><p>Nothing.</p></section>".to_owned();
    }
    let words = |text: &str| escape(&text.replace('_', " "));
    let mut rows = String::new();
    for one in all {
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            words(&one.metric),
            words(&one.reason),
            one.count,
            escape(&one.examples.join(", ")),
        );
    }
    format!(
        "<section><h2>Left out</h2><table><thead><tr><th>metric</th><th>why</th><th>how many</th><th>for example</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )
}
