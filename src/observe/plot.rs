//! Plots of values over time, as SVG: lines, bands, markers, axes. They take colours from the page by their
//! classes, so that dark mode and print are a matter of its style sheet, and they load nothing.
//!
//! | class | what |
//! |---|---|
//! | `plot` | the picture; `spark` where it has no axes |
//! | `line`, `line-0` … | a line, and which one |
//! | `band`, and the band's own | a stretch of time, over the whole height |
//! | `marker` | a moment |
//! | `axis`, `grid` | lines of the axes, and their labels |

use maud::{Markup, html};

/// Room for the labels of the axes, in units of the picture.
const LEFT: f64 = 56.0;
const BELOW: f64 = 18.0;

/// Room so that no line is cut off at its edge.
const EDGE: f64 = 2.0;

/// Labels on an axis, about.
const UPRIGHT_LABELS: f64 = 4.0;
const LEVEL_LABELS: f64 = 6.0;

/// A plot over time. Times and values are numbers of any unit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plot<'a> {
    /// What it shows: its title, and what a screen reader says.
    pub title: &'a str,
    /// Width and height of the picture; on the page it takes the width that is there.
    pub size: (u32, u32),
    /// What is shown of time; `None`: from the first point to the last.
    pub span: Option<(f64, f64)>,
    /// The lines, over all else.
    pub lines: Vec<Line<'a>>,
    /// Stretches of time, below the lines.
    pub bands: Vec<Band<'a>>,
    /// Moments.
    pub markers: Vec<Marker<'a>>,
    /// How the axes are labelled; `None`: a sparkline.
    pub axes: Option<Axes>,
}

/// A line; where a value is `None` it has a gap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line<'a> {
    /// Its name, shown where the pointer rests on it.
    pub name: &'a str,
    /// Time and value, in the order of time.
    pub points: Vec<(f64, Option<f64>)>,
}

/// A stretch of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Band<'a> {
    /// When it begins.
    pub from: f64,
    /// When it ends.
    pub to: f64,
    /// Its class beside `band`.
    pub class: &'static str,
    /// What it is, shown where the pointer rests on it.
    pub title: &'a str,
}

/// A moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marker<'a> {
    /// When.
    pub at: f64,
    /// What it is, shown where the pointer rests on it.
    pub title: &'a str,
}

/// How the labels of the axes are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axes {
    /// A moment.
    pub time: fn(f64) -> String,
    /// A value.
    pub value: fn(f64) -> String,
}

/// From times and values to places in the picture.
struct Scale {
    time: (f64, f64),
    most: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Scale {
    fn x(&self, time: f64) -> f64 {
        let (from, to) = self.time;
        let share = ((time - from) / (to - from)).clamp(0.0, 1.0);
        let share = if share.is_nan() { 0.0 } else { share };
        self.left + share * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value / self.most).clamp(0.0, 1.0);
        let share = if share.is_nan() { 0.0 } else { share };
        self.bottom - share * (self.bottom - self.top)
    }
}

impl Plot<'_> {
    /// The picture. Values begin at zero; what is no number is a gap.
    pub(crate) fn svg(&self) -> Markup {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        let scale = self.scale(width, height);
        let class = if self.axes.is_some() { "plot" } else { "plot spark" };
        let stretched = self.axes.is_none().then_some("none");
        html! {
            svg class=(class) viewBox=(format!("0 0 {} {}", self.size.0, self.size.1)) role="img"
                aria-label=(self.title) preserveAspectRatio=[stretched] {
                title { (self.title) }
                @for band in &self.bands {
                    @let (from, to) = (scale.x(band.from), scale.x(band.to));
                    rect class=(format!("band {}", band.class)) x=(place(from)) y=(place(scale.top))
                        width=(place((to - from).max(1.0))) height=(place(scale.bottom - scale.top)) {
                        title { (band.title) }
                    }
                }
                @if let Some(axes) = self.axes { (labels(&scale, axes)) }
                @for (number, line) in self.lines.iter().enumerate() {
                    g class=(format!("line line-{number}")) {
                        title { (line.name) }
                        @for piece in pieces(&line.points, &scale) {
                            polyline points=(piece) fill="none" vector-effect="non-scaling-stroke" {}
                        }
                    }
                }
                @for marker in &self.markers {
                    @let x = place(scale.x(marker.at));
                    line class="marker" x1=(x) x2=(x) y1=(place(scale.top)) y2=(place(scale.bottom))
                        vector-effect="non-scaling-stroke" {
                        title { (marker.title) }
                    }
                }
            }
        }
    }

    fn scale(&self, width: f64, height: f64) -> Scale {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let times = points().map(|(time, _)| *time).filter(|time| time.is_finite());
        let (first, last) = self.span.unwrap_or_else(|| {
            times.fold((f64::INFINITY, f64::NEG_INFINITY), |(first, last), time| {
                (first.min(time), last.max(time))
            })
        });
        let (first, last) =
            if first.is_finite() && last.is_finite() { (first, last) } else { (0.0, 1.0) };
        let values = points().filter_map(|(_, value)| *value).filter(|value| value.is_finite());
        let most = values.fold(0.0, f64::max);
        let (left, below) = if self.axes.is_some() { (LEFT, BELOW) } else { (EDGE, EDGE) };
        let round = self.axes.is_some();
        Scale {
            time: (first, if last > first { last } else { first + 1.0 }),
            most: match most {
                most if most <= 0.0 => 1.0,
                most if round => {
                    (most / step(most, UPRIGHT_LABELS)).ceil() * step(most, UPRIGHT_LABELS)
                }
                most => most,
            },
            left,
            right: (width - EDGE).max(left + 1.0),
            top: EDGE,
            bottom: (height - below).max(EDGE + 1.0),
        }
    }
}

/// A tenth of a unit of the picture is as good as it can be seen.
fn place(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// The points of each piece of a line between two gaps; of many that fall into one column of the picture the
/// least and the greatest.
fn pieces(points: &[(f64, Option<f64>)], scale: &Scale) -> Vec<String> {
    let mut pieces: Vec<Vec<(f64, f64, f64)>> = Vec::new();
    let mut gap = true;
    for (time, value) in points {
        let Some(value) = value.filter(|value| value.is_finite() && time.is_finite()) else {
            gap = true;
            continue;
        };
        let (x, y) = (scale.x(*time).round(), scale.y(value));
        match pieces.last_mut() {
            Some(piece) if !gap => match piece.last_mut() {
                Some((last, least, most)) if (*last - x).abs() < 0.5 => {
                    (*least, *most) = (least.min(y), most.max(y));
                }
                _ => piece.push((x, y, y)),
            },
            _ => pieces.push(vec![(x, y, y)]),
        }
        gap = false;
    }
    let text = |piece: Vec<(f64, f64, f64)>| {
        let mut text = String::new();
        for (x, least, most) in &piece {
            let ys = if most > least { &[*least, *most][..] } else { &[*least][..] };
            for y in ys {
                text += &format!("{},{} ", place(*x), place(*y));
            }
        }
        // A single point is no line.
        if let ([(x, y, most)], true) = (piece.as_slice(), piece.len() == 1)
            && (most - y).abs() < f64::EPSILON
        {
            text += &format!("{},{} ", place(x + 1.0), place(*y));
        }
        text.trim_end().to_owned()
    };
    pieces.into_iter().map(text).collect()
}

/// The distance of labels: 1, 2 or 5 times a power of ten, so that there are about `wanted`.
fn step(most: f64, wanted: f64) -> f64 {
    let rough = most / wanted;
    let power = 10f64.powf(rough.log10().floor());
    let times = rough / power;
    power
        * if times <= 1.0 {
            1.0
        } else if times <= 2.0 {
            2.0
        } else if times <= 5.0 {
            5.0
        } else {
            10.0
        }
}

fn labels(scale: &Scale, axes: Axes) -> Markup {
    let (from, to) = scale.time;
    let values = steps(0.0, scale.most, step(scale.most, UPRIGHT_LABELS));
    let times = steps(0.0, to - from, step(to - from, LEVEL_LABELS));
    html! {
        g class="grid" {
            @for value in values {
                @let y = scale.y(value);
                line x1=(place(scale.left)) x2=(place(scale.right)) y1=(place(y)) y2=(place(y)) {}
                text x=(place(scale.left - 6.0)) y=(place(y + 4.0)) text-anchor="end" { ((axes.value)(value)) }
            }
            @for time in times {
                text x=(place(scale.x(from + time))) y=(place(scale.bottom + 14.0)) text-anchor="middle" {
                    ((axes.time)(from + time))
                }
            }
        }
        g class="axis" {
            line x1=(place(scale.left)) x2=(place(scale.right)) y1=(place(scale.bottom)) y2=(place(scale.bottom)) {}
        }
    }
}

/// From one number to another, at most a hundred of them.
fn steps(from: f64, to: f64, step: f64) -> impl Iterator<Item = f64> {
    (0..100u32)
        .map(move |number| from + f64::from(number) * step)
        .take_while(move |at| *at <= to * 1.0001)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(points: &[(f64, Option<f64>)]) -> Line<'static> {
        Line { name: "rows/s", points: points.to_vec() }
    }

    fn spark(points: &[(f64, Option<f64>)]) -> String {
        let plot =
            Plot { title: "t", size: (104, 24), lines: vec![line(points)], ..Plot::default() };
        plot.svg().into_string()
    }

    fn polylines(svg: &str) -> Vec<&str> {
        let parts = svg.split("points=\"").skip(1);
        parts.map(|part| part.split('"').next().unwrap()).collect()
    }

    #[test]
    fn a_line_goes_from_corner_to_corner_and_has_gaps() {
        let svg = spark(&[(10.0, Some(0.0)), (15.0, Some(5.0)), (20.0, Some(10.0))]);
        assert_eq!(polylines(&svg), ["2,22 52,12 102,2"]);
        let svg = spark(&[(0.0, Some(4.0)), (1.0, None), (2.0, Some(f64::NAN)), (4.0, Some(4.0))]);
        assert_eq!(polylines(&svg), ["2,2 3,2", "102,2 103,2"]);
        assert!(spark(&[]).contains("<title>t</title>"));
    }

    #[test]
    fn of_many_points_in_a_column_the_least_and_the_greatest_are_drawn() {
        let points: Vec<_> = (0..=100_000u32)
            .map(|n| (f64::from(n), Some(if n == 50_000 { 9.0 } else { f64::from(n % 2) })))
            .collect();
        let svg = spark(&points);
        assert!(svg.len() < 4_000, "{}", svg.len());
        assert!(svg.contains(",2 "), "the one peak is there");
    }

    #[test]
    fn labels_are_round_numbers() {
        for (most, wanted) in [(1.0, 0.5), (7.0, 2.0), (90.0, 50.0), (1234.0, 500.0), (0.03, 0.01)]
        {
            assert!((step(most, UPRIGHT_LABELS) - wanted).abs() < 1e-9, "{most}");
        }
        let axes = Axes { time: |time| format!("{time} s"), value: |value| format!("{value}") };
        let lines = vec![line(&[(0.0, Some(0.0)), (60.0, Some(700.0))])];
        let plot =
            Plot { title: "t", size: (600, 120), lines, axes: Some(axes), ..Plot::default() };
        let svg = plot.svg().into_string();
        for label in [">0</text>", ">200</text>", ">800</text>", ">60 s</text>"] {
            assert!(svg.contains(label), "{label}: {svg}");
        }
    }

    #[test]
    fn whatever_a_name_holds_is_text() {
        let evil = "</title><script>alert(1)</script>\"'";
        let bands = vec![Band { from: 0.0, to: 1.0, class: "paused", title: evil }];
        let markers = vec![Marker { at: 0.5, title: evil }];
        let lines = vec![Line { name: evil, points: vec![(0.0, Some(1.0))] }];
        let plot = Plot { title: evil, size: (100, 20), bands, markers, lines, ..Plot::default() };
        let svg = plot.svg().into_string();
        assert!(!svg.contains("<script") && !svg.contains("\"'"), "{svg}");
        assert_eq!(svg.matches("<title>").count(), 4);
    }

    proptest! {
        #[test]
        fn no_numbers_leave_the_picture(
            points in proptest::collection::vec((any::<f64>(), proptest::option::of(any::<f64>())), 0..50),
            from in any::<f64>(), to in any::<f64>(), axes in any::<bool>(),
        ) {
            let axes = axes.then_some(Axes { time: |_| String::new(), value: |_| String::new() });
            let bands = vec![Band { from, to, class: "paused", title: "" }];
            let plot = Plot { title: "", size: (200, 50), lines: vec![line(&points)], bands, axes, ..Plot::default() };
            let svg = plot.svg().into_string();
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            for pair in polylines(&svg).iter().flat_map(|piece| piece.split(' ')) {
                let (x, y) = pair.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                prop_assert!((0.0..=200.0).contains(&x) && (0.0..=50.0).contains(&y), "{svg}");
            }
        }
    }
}
