//! What programs read: each line of `--json` against its schema in docs/use/schema.
//!
//! The checker knows what those schemas use of JSON Schema, and panics for anything else in them.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

const EVENT: &str = include_str!("../../../docs/use/schema/event.json");
const NOTICE: &str = include_str!("../../../docs/use/schema/notice.json");
const ERROR: &str = include_str!("../../../docs/use/schema/error.json");
const PLAN: &str = include_str!("../../../docs/use/schema/plan.json");
const STATUS: &str = include_str!("../../../docs/use/schema/status.json");
const REVERT_CHECK: &str = include_str!("../../../docs/use/schema/revert-check.json");
const ORDER: &str = include_str!("../../../docs/use/schema/order.json");
const HTTP_STATUS: &str = include_str!("../../../docs/use/schema/http-status.json");
const CLEANUP: &str = include_str!("../../../docs/use/schema/cleanup.json");

/// What is wrong with what a command printed; `None`: nothing.
pub fn problem(command: &str, line: &Value) -> Option<String> {
    let schema = match command {
        _ if line["event"] == "error" => ERROR,
        "alter" | "revert" => EVENT,
        "revert --check" => REVERT_CHECK,
        "plan" => PLAN,
        "status" => STATUS,
        "pause" | "resume" | "set" | "cut-over" | "abort" => ORDER,
        "cleanup" => CLEANUP,
        "GET /status" => HTTP_STATUS,
        "a message" => NOTICE,
        _ => return Some(format!("{command} has no schema")),
    };
    let root: Value = serde_json::from_str(schema).expect("a schema is JSON");
    let problem = check(&root, &root, line).err()?;
    Some(format!("{problem}\nis no line of {command}: {line}"))
}

/// Reads a line that a command printed, which must be as its schema says.
pub fn read(command: &str, line: &str) -> Value {
    let value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    if let Some(problem) = problem(command, &value) {
        panic!("{problem}");
    }
    value
}

/// Returns the properties that the schema names.
fn check(root: &Value, schema: &Value, value: &Value) -> Result<BTreeSet<String>, String> {
    let schema = schema.as_object().expect("a schema is an object");
    let mut named = BTreeSet::new();
    if let Some(target) = schema.get("$ref") {
        let path = target.as_str().and_then(|path| path.strip_prefix('#')).expect("a local $ref");
        named.extend(check(root, root.pointer(path).expect("what a $ref names"), value)?);
    }
    for (keyword, wanted) in schema {
        match keyword.as_str() {
            "$schema"
            | "$defs"
            | "$ref"
            | "title"
            | "description"
            | "format"
            | "additionalProperties"
            | "unevaluatedProperties" => {}
            "type" => {
                let is = |kind: &Value| kind.as_str().is_some_and(|kind| is_a(kind, value));
                let any =
                    wanted.as_array().map_or_else(|| is(wanted), |kinds| kinds.iter().any(is));
                ensure(any, || format!("{value} is no {wanted}"))?;
            }
            "enum" => ensure(wanted.as_array().is_some_and(|all| all.contains(value)), || {
                format!("{value} is none of {wanted}")
            })?,
            "const" => ensure(wanted == value, || format!("{value} is not {wanted}"))?,
            "minimum" => {
                ensure(
                    value.as_f64().is_none_or(|number| Some(number) >= wanted.as_f64()),
                    || format!("{value} is below {wanted}"),
                )?;
            }
            "required" => {
                let missing = strings(wanted).find(|name| value.get(name).is_none());
                ensure(missing.is_none(), || format!("{missing:?} is missing"))?;
            }
            "properties" => named.extend(properties(root, wanted, value)?),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(root, wanted, item)?;
                }
            }
            "oneOf" => {
                let all = wanted.as_array().expect("oneOf is a list");
                let outcomes: Vec<_> = all.iter().map(|one| check(root, one, value)).collect();
                let fitting: Vec<_> = outcomes.iter().flatten().collect();
                ensure(fitting.len() == 1, || {
                    format!("{} of oneOf fit: {outcomes:?}", fitting.len())
                })?;
                named.extend(fitting.into_iter().flatten().cloned());
            }
            other => panic!("the checker does not know {other:?}"),
        }
    }
    let closed = ["additionalProperties", "unevaluatedProperties"];
    if closed.iter().any(|keyword| schema.get(*keyword) == Some(&Value::Bool(false))) {
        let extra = value.as_object().into_iter().flat_map(Map::keys);
        let extra: Vec<_> = extra.filter(|name| !named.contains(*name)).collect();
        ensure(extra.is_empty(), || format!("{extra:?} is not in the schema"))?;
    }
    Ok(named)
}

fn properties(root: &Value, wanted: &Value, value: &Value) -> Result<BTreeSet<String>, String> {
    let wanted = wanted.as_object().expect("properties are an object");
    for (name, schema) in wanted {
        if let Some(property) = value.get(name) {
            check(root, schema, property).map_err(|problem| format!("{name}: {problem}"))?;
        }
    }
    Ok(wanted.keys().cloned().collect())
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("the checker does not know the type {other:?}"),
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}
