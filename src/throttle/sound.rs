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
    let query = settings.throttle_query.as_deref();
    findings.extend(
        self::query(probe, query, ("throttle-query", "--throttle-query", "pauses the copy"))
            .await?,
    );
    Ok(findings)
}

/// What is wrong with a query whose number counts: its code, the flag that gave it, and what a number above 0
/// does.
///
/// # Errors
/// The connection's.
pub(crate) async fn query<G: StatusProbe>(
    probe: &mut G,
    sql: Option<&str>,
    (code, flag, does): (&'static str, &str, &str),
) -> Result<Option<Finding>> {
    let Some(sql) = sql else { return Ok(None) };
    let seen = match query::reads(sql) {
        Ok(()) => probe.first_number(sql).await.map(drop),
        Err(problem) => Err(Error::Usage { message: problem.into(), help: String::new() }),
    };
    let Err(error) = seen else { return Ok(None) };
    let found = lasting(probe, error)?.map(|(why, help)| {
        let help = help.unwrap_or_else(|| {
            format!("give one SELECT whose first value is a number: above 0 {does}")
        });
        Finding::new(code, format!("{flag}: {why}"), help)
    });
    Ok(found)
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
