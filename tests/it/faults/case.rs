//! One case: a fault at a point, and the same command again. And the walk over all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use osc::testing::failpoint::Point;
use tokio::sync::Semaphore;

use crate::support;

/// Cases of one test side by side.
const AT_ONCE: usize = 2;

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Kill,
    Error,
    Cut,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Error => "error",
            Self::Cut => "cut",
        }
    }
}

/// A fault: the point, and which time it is passed.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub point: Point,
    pub time: u32,
}

/// A server with tables to change.
pub trait Scenario {
    /// What the results are filed under.
    fn name(&self) -> &'static str;

    /// The faults that are tried here.
    fn faults(&self) -> Vec<Fault>;

    /// Tries one. An error is what was wrong; otherwise how the first command ended.
    fn case(&self, fault: Fault, action: Action) -> impl Future<Output = Result<String, String>>;
}

/// Of the points that are not killed at, a usual run tries so few.
const USUALLY_ONE_OF: usize = 4;

/// Tries all points; fails with a list of those at which something was wrong.
pub async fn walk(scenario: &impl Scenario, action: Action) {
    let wish = std::env::var("OSC_FAULTS").unwrap_or_default();
    // An undo passes the points of a run once more.
    let rarer = if scenario.name().ends_with("-revert") { 3 } else { 1 };
    let wished = |(at, fault): &(usize, Fault)| match (wish.as_str(), action) {
        ("", Action::Kill) => at % rarer == 0,
        ("", _) => at % (USUALLY_ONE_OF * rarer) == 1,
        (wish, _) => ["all", fault.point.name()].contains(&wish),
    };
    let turn = Semaphore::new(AT_ONCE);
    let cases = scenario.faults().into_iter().enumerate().filter(wished).map(|(_, fault)| {
        let turn = &turn;
        async move {
            let _mine = turn.acquire().await.unwrap();
            let began = std::time::Instant::now();
            let outcome = scenario.case(fault, action).await;
            eprintln!(
                "{} {} {}@{}: {outcome:?} {:?}",
                scenario.name(),
                action.word(),
                fault.point.name(),
                fault.time,
                began.elapsed()
            );
            (fault, outcome)
        }
    });
    let outcomes = futures_util::future::join_all(cases).await;
    let mut wrong = BTreeMap::new();
    let mut table = String::new();
    for (fault, outcome) in outcomes {
        let place = format!("{}@{}", fault.point.name(), fault.time);
        let reported = outcome.as_ref().map_or("FAILED", String::as_str);
        let _ = writeln!(table, "{place} {} {} {reported}", scenario.name(), action.word());
        if let Err(error) = outcome {
            wrong.insert(place, error);
        }
    }
    if let Some(folder) = std::env::var_os("OSC_FAULTS_TABLE") {
        let file = format!("{}-{}", scenario.name(), action.word());
        std::fs::write(std::path::Path::new(&folder).join(file), table).unwrap();
    }
    let list: String = wrong.iter().map(|(place, error)| format!("\n{place}: {error}\n")).collect();
    assert!(
        wrong.is_empty(),
        "{} {}: {} wrong:{list}",
        scenario.name(),
        action.word(),
        wrong.len()
    );
}

/// The command of a migration by copy.
pub fn alter<'a>(clauses: &'a str, url: &'a str) -> [&'a str; 14] {
    [
        "alter",
        "t",
        clauses,
        "--url",
        url,
        "--strategy",
        "copy",
        "--yes",
        "--indexes",
        "after",
        "--chunk-size",
        "200",
        "--chunk-time",
        "100ms",
    ]
}

/// The command with its fault, and then without it until it is done; how the first one ended.
pub async fn to_its_end<F: Future<Output = ()>>(
    arguments: &[&str],
    fault: Fault,
    action: Action,
    cut: impl Fn() -> F,
    touched: impl AsyncFn() -> bool,
) -> Result<String, String> {
    let status = first(arguments, fault, action, cut).await?;
    if status.code() == Some(1) && touched().await {
        return Err("the original was touched".into());
    }
    // Killed behind the record of its end, a run is done.
    let done = status.code().is_none() && fault.point == Point::Finished;
    if status.code() != Some(0) && !done {
        succeeds(arguments).await?;
    }
    Ok(reported(status))
}

/// The first command, with its fault, and how it ended; `cut` ends osc's sessions.
pub async fn first<F: Future<Output = ()>>(
    arguments: &[&str],
    fault: Fault,
    action: Action,
    cut: impl Fn() -> F,
) -> Result<ExitStatus, String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("{}@{}", fault.point.name(), fault.time);
    let wish = match action {
        Action::Kill => format!("{place}=kill"),
        Action::Error => format!("{place}=error"),
        Action::Cut => format!("{place}=wait:{}", listener.local_addr().unwrap()),
    };
    let asked = Arc::new(AtomicBool::new(false));
    let (call, mut called) = tokio::sync::mpsc::channel(1);
    let theirs = Arc::clone(&asked);
    std::thread::spawn(move || {
        if let Ok((line, _)) = listener.accept() {
            theirs.store(true, Ordering::SeqCst);
            let _ = call.blocking_send(line);
        }
    });
    let command = osc(arguments, Some(&wish));
    tokio::pin!(command);
    let output = loop {
        tokio::select! {
            output = &mut command => break output?,
            Some(line) = called.recv() => {
                cut().await;
                drop(line);
            }
        }
    };
    let printed = printed(&output);
    if !printed.contains(&format!("fault at {}", fault.point.name())) {
        return Err(format!("never passed: {printed}"));
    }
    let status = output.status;
    let expected = match action {
        Action::Kill => status.signal().is_some(),
        Action::Error | Action::Cut => matches!(status.code(), Some(0 | 1 | 3)),
    };
    if expected { Ok(status) } else { Err(format!("ended so: {printed}")) }
}

/// A command that must succeed.
pub async fn succeeds(arguments: &[&str]) -> Result<(), String> {
    // The server lets the unfinished run's lock go when it notices.
    for _ in 0..50 {
        let output = osc(arguments, None).await?;
        let printed = printed(&output);
        match output.status.code() {
            Some(0) => return Ok(()),
            Some(4) if printed.contains("another osc is already changing") => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            _ => return Err(format!("{arguments:?}: {printed}")),
        }
    }
    Err("the lock of the killed run is not released".into())
}

async fn osc(arguments: &[&str], fault: Option<&str>) -> Result<Output, String> {
    let mut command = support::osc();
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(fault) = fault {
        command.env("OSC_FAULT", fault);
    }
    let mut child = command.spawn().unwrap();
    let mut pipes = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = tokio::task::spawn_blocking(move || {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let _ = pipes.1.read_to_end(&mut stderr);
        let _ = pipes.0.read_to_end(&mut stdout);
        (stdout, stderr)
    });
    let began = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            let (_, stderr) = reader.await.unwrap();
            return Err(format!("no end: {}", String::from_utf8_lossy(&stderr)));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let (stdout, stderr) = reader.await.unwrap();
    Ok(Output { status, stdout, stderr })
}

fn printed(output: &Output) -> String {
    format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// How the first command ended, for the table.
pub fn reported(status: ExitStatus) -> String {
    status.code().map_or_else(|| "killed".to_owned(), |code| code.to_string())
}

/// The faults of a place; those that are passed on several occasions are tried on each.
pub fn faults(is_here: impl Fn(Point) -> bool) -> Vec<Fault> {
    let mut all = Vec::new();
    for point in Point::ALL.iter().copied().filter(|point| is_here(*point)) {
        let times: &[u32] = match point {
            // Before the run and at its end.
            Point::SlotDropped => &[1, 2],
            // The first is the state that every run begins with.
            Point::ChunkCopied | Point::RefreshTaken | Point::RefreshWritten => &[1, 3],
            _ => &[1],
        };
        all.extend(times.iter().map(|&time| Fault { point, time }));
    }
    all
}

/// Runs what may panic, and tells the panic.
pub async fn caught(work: impl Future<Output = ()>) -> Result<(), String> {
    use futures_util::FutureExt;
    let work = std::panic::AssertUnwindSafe(work).catch_unwind();
    work.await.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or("a panic".into(), |text| (*text).to_owned()),
    })
}
