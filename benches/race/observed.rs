//! Runs a program and observes what it costs the machine, as Linux tells in `/proc`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A tick of the times in `/proc`, which is the same on all machines.
const TICK: Duration = Duration::from_millis(10);

/// How often a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a program's run cost.
pub struct Cost {
    /// When it was started.
    pub begun: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Whether it said that all was well.
    pub well: bool,
    /// The most memory that it had at one time, in KiB.
    pub peak_kib: u64,
    /// The processors' time that it took, in seconds.
    pub own_cpu: f64,
    /// That of the server meanwhile.
    pub server_cpu: f64,
    /// That of all other programs; the writers are no others.
    pub others_cpu: f64,
}

/// Runs the command beside a server; what it prints goes to the file `output`.
pub fn run(mut command: Command, output: &Path, server: u32, limit: Duration) -> io::Result<Cost> {
    let file = File::create(output)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let (busy, us, serving) = (busy(), cpu_of_tree(std::process::id()), cpu_of_tree(server));
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let (id, over) = (child.id(), AtomicBool::new(false));
    let last = Mutex::new((0, Duration::ZERO));
    let look = || {
        let deadline = begun + limit;
        while !over.load(Ordering::Relaxed) {
            if let Some(kib) = peak(id) {
                // Its last breath has no memory.
                *last.lock().expect("no holder panics") = (kib, cpu_of_tree(id));
            }
            if Instant::now() > deadline {
                let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
            }
            thread::sleep(LOOK_EVERY);
        }
    };
    let (status, ended) = thread::scope(|scope| {
        scope.spawn(look);
        let status = child.wait();
        let ended = Instant::now();
        over.store(true, Ordering::Relaxed);
        (status, ended)
    });
    let (peak_kib, own) = *last.lock().expect("no holder panics");
    let serving = cpu_of_tree(server).saturating_sub(serving);
    // The server and the program are ours too.
    let ours = cpu_of_tree(std::process::id()).saturating_sub(us);
    let others = self::busy().saturating_sub(busy).saturating_sub(ours);
    Ok(Cost {
        begun,
        ended,
        well: status?.success(),
        peak_kib,
        own_cpu: own.as_secs_f64(),
        server_cpu: serving.as_secs_f64(),
        others_cpu: others.as_secs_f64(),
    })
}

/// How many processors other programs keep busy, by a look of `during`.
pub fn others(during: Duration) -> f64 {
    let (before, us) = (busy(), cpu_of_tree(std::process::id()));
    thread::sleep(during);
    let ours = cpu_of_tree(std::process::id()).saturating_sub(us);
    (busy() - before).saturating_sub(ours).as_secs_f64() / during.as_secs_f64()
}

/// The machine's load average over a minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

/// The time for which the machine's processors were busy, or taken by its host.
fn busy() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u32> =
        first.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
    let counted = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at));
    TICK * counted.sum()
}

/// The memory that a process had at its largest, in KiB; `None` when it is gone.
fn peak(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

struct Process {
    parent: u32,
    /// Its own time and that of the children which it has waited for.
    cpu: Duration,
}

fn processes() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| Some((id, process(id)?))).collect()
}

fn process(id: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u32>().ok());
    Some(Process { parent: fields.get(1)?.parse().ok()?, cpu: TICK * ticks.sum() })
}

/// The time of a process and of all that it has started.
fn cpu_of_tree(root: u32) -> Duration {
    let processes = processes();
    let within = |mut id: u32| loop {
        match processes.get(&id) {
            _ if id == root => break true,
            Some(process) => id = process.parent,
            None => break false,
        }
    };
    processes.iter().filter(|(id, _)| within(**id)).map(|(_, process)| process.cpu).sum()
}
