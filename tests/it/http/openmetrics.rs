//! A strict reader of OpenMetrics text 1.0: what it does not know, or finds out of order, is a mistake.

use std::collections::{BTreeMap, BTreeSet};

/// A family of samples.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    help: bool,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// What a scrape holds.
#[derive(Debug, Default)]
pub(crate) struct Scrape(pub(crate) BTreeMap<String, Family>);

impl Scrape {
    /// Names of samples, as a query has them.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let samples = self.0.values().flat_map(|family| &family.samples);
        samples.map(|sample| sample.name.clone()).collect()
    }

    /// The value of the one sample with these labels among others.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let all = self.0.values().flat_map(|family| &family.samples);
        let found: Vec<_> = all
            .filter(|sample| {
                let has = |(key, value): &(&str, &str)| {
                    sample.labels.get(*key).map(String::as_str) == Some(value)
                };
                sample.name == name && labels.iter().all(has)
            })
            .collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:#?}");
        found[0].value
    }
}

fn is_name(name: &str, colon: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || colon && c == ':';
    name.starts_with(|c: char| fits(c) && !c.is_ascii_digit()) && name.chars().all(fits)
}

/// Reads a scrape.
pub(crate) fn read(text: &str) -> Result<Scrape, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let (mut scrape, mut current) = (Scrape::default(), String::new());
    for line in body.split_inclusive('\n') {
        let line = line.strip_suffix('\n').ok_or("a line without its end")?;
        read_line(line, &mut scrape, &mut current).map_err(|why| format!("{why}: {line}"))?;
    }
    for (name, family) in &scrape.0 {
        check(name, family).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(scrape)
}

fn read_line(line: &str, scrape: &mut Scrape, current: &mut String) -> Result<(), String> {
    if let Some(rest) = line.strip_prefix("# ") {
        let (keyword, rest) = rest.split_once(' ').ok_or("no keyword")?;
        let (name, text) = rest.split_once(' ').ok_or("no text")?;
        if !is_name(name, true) {
            return Err("no name".into());
        }
        if name != current {
            if scrape.0.contains_key(name) {
                return Err("a family in two pieces".into());
            }
            name.clone_into(current);
        }
        let family = scrape.0.entry(name.to_owned()).or_default();
        if !family.samples.is_empty() {
            return Err("metadata after samples".into());
        }
        return match keyword {
            "HELP" if !family.help && !text.is_empty() => {
                family.help = true;
                Ok(())
            }
            "TYPE" if family.kind.is_empty() => {
                let known = ["counter", "gauge", "histogram", "info"].contains(&text);
                text.clone_into(&mut family.kind);
                if known { Ok(()) } else { Err("an unknown type".into()) }
            }
            _ => Err("metadata that is not known, or there twice".into()),
        };
    }
    if line.is_empty() || line.starts_with('#') {
        return Err("neither metadata nor a sample".into());
    }
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = labels(rest)?;
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let number: f64 = match value {
        "+Inf" => f64::INFINITY,
        text if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            text.parse().map_err(|_| "no number")?
        }
        _ => return Err("no number".into()),
    };
    let family = scrape.0.get_mut(current.as_str()).ok_or("a sample before its family")?;
    let suffix = name.strip_prefix(current.as_str()).ok_or("a sample of another family")?;
    let fits = match family.kind.as_str() {
        "counter" => suffix == "_total",
        "gauge" => suffix.is_empty(),
        "info" => suffix == "_info",
        "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
        _ => false,
    };
    if !fits {
        return Err("a name that does not fit its type".into());
    }
    let same = |sample: &Sample| sample.name == name && sample.labels == labels;
    if family.samples.iter().any(same) {
        return Err("a sample twice".into());
    }
    family.samples.push(Sample { name: name.to_owned(), labels, value: number });
    Ok(())
}

fn labels(text: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut found = BTreeMap::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Ok((found, text)) };
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((found, after));
        }
        let (name, value) = rest.split_once("=\"").ok_or("no label")?;
        if !is_name(name, false) {
            return Err(format!("{name:?} is no name of a label"));
        }
        let (mut text, mut chars) = (String::new(), value.char_indices());
        let end = loop {
            match chars.next().ok_or("a label without its end")? {
                (_, '\\') => text.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, c @ ('\\' | '"'))) => c,
                    _ => return Err("an unknown escape".into()),
                }),
                (at, '"') => break at + 1,
                (_, c) => text.push(c),
            }
        };
        if found.insert(name.to_owned(), text).is_some() {
            return Err("a label twice".into());
        }
        rest = &value[end..];
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else if !rest.starts_with('}') {
            return Err("no comma between labels".into());
        }
    }
}

fn check(name: &str, family: &Family) -> Result<(), String> {
    if family.kind.is_empty() || !family.help || family.samples.is_empty() {
        return Err("a family without type, help or samples".into());
    }
    if ["_total", "_info", "_bucket", "_count", "_sum", "_created"]
        .iter()
        .any(|end| name.ends_with(end))
        && !(family.kind == "gauge" && name.ends_with("_info"))
    {
        return Err("a name that a type reserves".into());
    }
    match family.kind.as_str() {
        "counter" if family.samples.iter().any(|sample| sample.value < 0.0) => {
            Err("a counter below zero".into())
        }
        "histogram" => histogram(name, family),
        _ => Ok(()),
    }
}

fn histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut by_labels: BTreeMap<_, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        by_labels.entry(labels).or_default().push(sample);
    }
    for samples in by_labels.into_values() {
        let buckets: Vec<_> = samples
            .iter()
            .filter(|sample| sample.name == format!("{name}_bucket"))
            .map(|sample| (sample.labels.get("le").cloned().unwrap_or_default(), sample.value))
            .collect();
        let bound =
            |text: &str| if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() };
        let bounds: Vec<f64> = buckets.iter().filter_map(|(le, _)| bound(le)).collect();
        if bounds.len() != buckets.len() || !bounds.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err("buckets without order".into());
        }
        if !buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1) {
            return Err("buckets that are not cumulative".into());
        }
        let count = samples.iter().find(|sample| sample.name == format!("{name}_count"));
        let last = buckets.last().ok_or("no buckets")?;
        if last.0 != "+Inf" || Some(last.1) != count.map(|count| count.value) {
            return Err("+Inf is not the count".into());
        }
        samples.iter().find(|sample| sample.name == format!("{name}_sum")).ok_or("no sum")?;
    }
    Ok(())
}

#[test]
fn the_reader_is_strict() {
    let good = "# HELP a_x A.\n# TYPE a_x counter\na_x_total{t=\"q\\\"\\\\\\n\"} 1\n# HELP h H.\n# TYPE h histogram\n\
                h_sum 1.0\nh_count 2\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\n# EOF\n";
    let scrape = read(good).unwrap();
    assert_eq!(scrape.0["a_x"].samples[0].labels["t"], "q\"\\\n");
    for (from, to) in [
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF\nx 1\n"),
        ("a_x_total", "a_x"),
        ("# HELP a_x A.\n", ""),
        ("# TYPE a_x counter\n", ""),
        ("counter", "number"),
        ("} 1\n", "} one\n"),
        ("} 1\n", "} -1\n"),
        ("\\n", "\\t"),
        ("t=", "0t="),
        ("h_count 2", "h_count 3"),
        ("0.5\"} 1", "0.5\"} 3"),
        ("h_sum 1.0\n", ""),
        ("h_sum 1.0\n", "h_sum 1.0\nh_sum 1.0\n"),
        ("h_sum 1.0\n", "\nh_sum 1.0\n"),
        ("# HELP h H.", "# HELP a_x A.\n# HELP h H."),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(read(&bad).is_err(), "{bad}");
    }
}
