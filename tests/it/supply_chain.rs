//! Every dependency's licence is one that deny.toml allows: also where cargo-deny is not installed.

use std::process::Command;

use serde_json::Value;

/// Whether an SPDX expression can be met by `allowed` licences alone. AND binds closer than OR.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    // The old way to write OR.
    let text = expression.replace('/', " OR ");
    let mut depth = 0;
    let mut split = |word: &str| {
        let mut parts = vec![String::new()];
        for token in text.split_inclusive([' ', '(', ')']) {
            depth += i32::from(token.ends_with('(')) - i32::from(token.ends_with(')'));
            if depth == 0 && token.trim() == word {
                parts.push(String::new());
            } else {
                parts.last_mut().unwrap().push_str(token);
            }
        }
        parts
    };
    let either = split("OR");
    if either.len() > 1 {
        return either.iter().any(|part| is_met(part, allowed));
    }
    let all = split("AND");
    if all.len() > 1 {
        return all.iter().all(|part| is_met(part, allowed));
    }
    let text = text.trim();
    match text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_met(inner, allowed),
        None => allowed.contains(&text),
    }
}

#[test]
fn an_expression_needs_what_it_says() {
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("MIT OR GPL-3.0-only", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
        ("(MIT OR GPL-3.0-only) AND (Zlib OR MIT)", true),
        ("", false),
    ] {
        assert_eq!(is_met(expression, &["MIT"]), met, "{expression}");
    }
}

#[test]
fn every_licence_is_allowed_and_every_source_is_the_registry() {
    let root = env!("CARGO_MANIFEST_DIR");
    let deny: toml::Table =
        std::fs::read_to_string(format!("{root}/deny.toml")).unwrap().parse().unwrap();
    let allowed: Vec<&str> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{}", packages.len());
    let mut wrong = Vec::new();
    for package in packages {
        let license = package["license"].as_str().unwrap_or_default();
        let own = package["name"] == "osc";
        let known =
            package["source"].as_str().is_some_and(|source| source.starts_with("registry+"));
        if !is_met(license, &allowed) || !own && !known {
            wrong.push(format!("{} {}: {license:?}", package["name"], package["version"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
