//! A race: osc, the server's own ALTER TABLE and the peers change the same table, while an application
//! writes to it, or nothing does. Nothing is asserted: two machines do not agree on times.
//!
//! Each contender gets the table afresh on the same server; the order changes from round to round.
//! `scripts/race` installs what this needs, and says how it is called.
#![allow(unreachable_pub, reason = "a program of several modules, which nothing else uses")]

mod contender;
mod machine;
mod observed;
mod plot;
mod record;
mod report;
#[path = "../../tests/it/support/mod.rs"]
mod support;
mod writers;

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::runtime::Runtime;

use contender::Contender;
use machine::{Brand, Machine, Setting};
use record::Record;
use writers::Writers;

/// The application writes for so long before a contender begins.
const WARM_UP: Duration = Duration::from_secs(3);

/// A contender that takes longer is ended.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// For how long the machine is looked at to tell whether it is quiet.
const LISTEN: Duration = Duration::from_secs(2);

/// osc, the server's own ALTER TABLE and the peers change the same table.
#[derive(Parser)]
struct Arguments {
    /// The server.
    #[arg(default_value = "mariadb")]
    server: Brand,

    /// Rows of the table.
    #[arg(default_value_t = 1_000_000)]
    rows: u64,

    /// Transactions a second that the application writes, one race for each number.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [0, 300, 1200])]
    writes: Vec<u32>,

    /// How often each contender runs.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,

    /// Race to undo the change instead.
    #[arg(long)]
    undo: bool,

    /// Rows that are written between a change and its undo.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    touched: u64,

    /// Only these contenders.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Contender>,

    /// Further arguments for osc, such as "--threads 2".
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    osc: String,

    /// A further setting of the server, such as "innodb-log-writer-threads=ON"; may be given again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = Setting::from_str)]
    setting: Vec<Setting>,

    /// Wait so long before each run for other programs to leave the machine alone.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u64,

    /// Where results go: `results.jsonl`, to which lines are added, `results.svg` and what the
    /// contenders printed.
    #[arg(long, value_name = "FOLDER", default_value = "target/race")]
    output: PathBuf,

    /// Run nothing: show the results that are there.
    #[arg(long)]
    report: bool,

    /// What `cargo bench` says to every program.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse();
    if arguments.undo {
        arguments.output.push("undo");
    }
    fs::create_dir_all(&arguments.output)?;
    let results = arguments.output.join("results.jsonl");
    if !arguments.report {
        race(&arguments, &results)?;
    }
    let records = record::read(&fs::read_to_string(&results)?)?;
    fs::write(arguments.output.join("results.svg"), plot::svg(&records))?;
    println!("{}", report::tables(&records));
    Ok(())
}

fn race(arguments: &Arguments, results: &Path) -> Result<(), Box<dyn Error>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    eprintln!("starting the server, making {} rows", arguments.rows);
    let machine = Machine::start(arguments.server, &arguments.setting);
    machine.load(&runtime, arguments.rows);
    for &writes in &arguments.writes {
        for round in 1..=arguments.rounds {
            let mut contenders = if arguments.undo {
                Contender::of_an_undo(&machine)
            } else {
                Contender::on(&machine, writes > 0)
            };
            contenders.retain(|one| arguments.only.is_empty() || arguments.only.contains(one));
            let turn = usize::try_from(round - 1)? % contenders.len().max(1);
            contenders.rotate_left(turn);
            for contender in contenders {
                machine.refresh(&runtime);
                if contender.undoes() {
                    change(&runtime, &machine, arguments)?;
                }
                wait_for_quiet(Duration::from_secs(arguments.patience));
                let mut record = run(&runtime, &machine, contender, writes, arguments)?;
                record.round = round;
                let line = serde_json::to_string(&record)?;
                eprintln!("{line}");
                let mut file = OpenOptions::new().create(true).append(true).open(results)?;
                writeln!(file, "{line}")?;
            }
        }
    }
    Ok(())
}

/// Makes the change that is to be undone, and writes to the table.
fn change(
    runtime: &Runtime,
    machine: &Machine,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let output = Contender::Osc.command(machine, &arguments.osc).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stdout).into());
    }
    machine.touch(runtime, arguments.rows, arguments.touched);
    Ok(())
}

fn run(
    runtime: &Runtime,
    machine: &Machine,
    contender: Contender,
    writes: u32,
    arguments: &Arguments,
) -> Result<Record, Box<dyn Error>> {
    let writers = (writes > 0).then(|| {
        let writers = Writers::start(&machine.address(), writes, arguments.rows);
        thread::sleep(WARM_UP);
        writers.begin();
        writers
    });
    let load = observed::load();
    let output = arguments.output.join(format!("{}.log", contender.file()));
    let cost =
        observed::run(contender.command(machine, &arguments.osc), &output, machine.pid(), LIMIT)?;
    let seconds = cost.ended.duration_since(cost.begun).as_secs_f64();
    let mut application = writers.map(Writers::end);
    let printed = String::from_utf8_lossy(&fs::read(&output)?).into_owned();
    let phases = record::phases(&printed);
    if let Some(application) = &mut application {
        application.split(&phases, cost.ended);
    }
    if !cost.well {
        eprintln!("{} failed:\n{printed}", contender.name());
    }
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let peak_mib = cost.peak_kib as f64 / 1024.0;
    Ok(Record {
        time: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
        server: machine.name(runtime),
        rows: arguments.rows,
        writes,
        contender: contender.name().to_owned(),
        round: 0,
        well: cost.well,
        seconds,
        peak_mib,
        own_cpu: cost.own_cpu,
        server_cpu: cost.server_cpu,
        others: cost.others_cpu / seconds,
        load,
        phases,
        lock_ms: record::lock(&printed),
        undone_ms: record::undone(&printed),
        application,
    })
}

/// Returns when other programs leave the machine alone, or patience ends.
fn wait_for_quiet(patience: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < patience && observed::others(LISTEN) > report::NOISE / 2.0 {}
}
