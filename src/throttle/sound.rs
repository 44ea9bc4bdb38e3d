//! Settings that can never be right, found before anything is made.
//!
//! The throttle fails closed: what it cannot see pauses the copy. That is right for what comes and
//! goes, and would be a pause for ever where a name is misspelt.

use super::probe::{StatusProbe, brief};
use super::query;
use crate::config::settings::Settings;
use crate::error::{Error, Finding, Result};

/// What is wrong with the load limits and the query, as one look at the server shows. What may only be
/// so now passes: a query without a row, one that takes too long.
///
/// # Errors
/// The connection's.
pub(crate) async fn probes<G: StatusProbe>(
    settings: &Settings,
    probe: &mut G,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (flag, limits) in
        [("--max-load", &settings.max_load), ("--critical-load", &settings.critical_load)]
    {
        for limit in limits {
            if let Err(error) = probe.status(&[limit.name()]).await
                && let Some((why, help)) = lasting(probe, error)?
            {
                let help = help.unwrap_or_else(|| G::NAMES.to_owned());
                findings.push(Finding::new("load", format!("{flag} {limit}: {why}"), help));
            }
        }
    }
    if let Some(sql) = &settings.throttle_query
        && let Some((why, help)) = query(probe, sql, "pauses the copy").await?
    {
        findings.push(Finding::new("throttle-query", format!("--throttle-query: {why}"), help));
    }
    Ok(findings)
}

/// What is wrong with a query whose number counts, and what to do; `does`: what a number above 0 does.
///
/// # Errors
/// The connection's.
pub(crate) async fn query<G: StatusProbe>(
    probe: &mut G,
    sql: &str,
    does: &str,
) -> Result<Option<(String, String)>> {
    let seen = match query::reads(sql) {
        Ok(()) => probe.first_number(sql).await.map(drop),
        Err(problem) => Err(Error::Usage { message: problem.into(), help: String::new() }),
    };
    let Err(error) = seen else { return Ok(None) };
    let found = lasting(probe, error)?;
    Ok(found.map(|(why, help)| {
        let otherwise = || format!("give one SELECT whose first value is a number: above 0 {does}");
        (why, help.unwrap_or_else(otherwise))
    }))
}

/// Why this error would come every time, with what helps where the error knows; `None`: it may pass.
fn lasting<G: StatusProbe>(probe: &G, error: Error) -> Result<Option<(String, Option<String>)>> {
    match error {
        Error::Connection { .. } | Error::Internal(_) => Err(error),
        error if probe.passes(&error) => Ok(None),
        Error::Refused(findings) => {
            let help = findings.first().map(|finding| finding.help.clone());
            Ok(Some((brief(&Error::Refused(findings)), help.filter(|help| !help.is_empty()))))
        }
        Error::Server { message, .. } => Ok(Some((message, None))),
        error => Ok(Some((brief(&error), None))),
    }
}

/// A replica that cannot be watched.
pub(crate) fn replica(name: &str, why: &str) -> Finding {
    Finding::new(
        "replica",
        format!("--replica {name}: {why}"),
        "name a replica of the server that is changed, which osc can reach, or leave --replica out",
    )
}

/// # Errors
/// `Refused`, where there are any.
pub(crate) fn none(findings: Vec<Finding>) -> Result<()> {
    if findings.is_empty() { Ok(()) } else { Err(Error::Refused(findings)) }
}
