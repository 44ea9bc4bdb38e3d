//! The program `osc`: parse, run, exit code.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use osc::cli::{Cli, diagnostics};
use osc::engine::progress::Subject;
use osc::error::Error;
use osc::output::exit_code;
use osc::output::screen::{self, Screen};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Fails only if there is one already, which then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    announce_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return diagnostics::of_command_line(&error),
    };
    let screen = Screen::default();
    log_to(&screen, cli.verbose);
    let json = cli.json();
    let subject = Subject::default();
    match run(cli, &screen, &subject) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            diagnostics::show(&error, json, subject.about(), &screen);
            ExitCode::from(exit_code::of(&error))
        }
    }
}

fn run(cli: Cli, screen: &Screen, subject: &Subject) -> osc::error::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Internal(format!("cannot start the runtime: {error}")))?;
    // A panic ends the command and not the process: what must be closed is closed, the reporter says
    // its last words, and the exit code is that of a failure.
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(cli.run(screen, subject))))
        .unwrap_or_else(|_| Err(Error::Internal("osc panicked".into())));
    // A control file on a hung file system must not keep the program from ending.
    runtime.shutdown_background();
    result
}

/// A defect is one line for the user; with `OSC_LOG` set, all of it. Nothing ends here: a hook runs
/// before the panic unwinds, and whoever catches it continues.
fn announce_panics() {
    let full = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::env::var_os("OSC_LOG").is_some() {
            full(panic);
        }
        let place = panic.location().map_or(String::new(), |place| format!(" at {place}"));
        // Whoever reads it may have gone.
        let _ = writeln!(std::io::stderr(), "osc: internal error{place}; please report this");
    }));
}

fn log_to(screen: &Screen, verbose: u8) {
    let usual = match verbose {
        0 => "warn",
        1 => "warn,osc=info",
        2 => "warn,osc=debug",
        _ => "info,osc=trace",
    };
    let wished = std::env::var("OSC_LOG").ok().filter(|filter| !filter.is_empty());
    let (filter, refused) = match wished.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(usual), Some(error)),
        None => (EnvFilter::new(usual), None),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(screen.clone())
        // They would go to stderr by a macro that panics where stderr cannot be written.
        .log_internal_errors(false)
        .with_ansi(screen::colours())
        .with_target(false)
        .init();
    if let Some(error) = refused {
        tracing::warn!("OSC_LOG is ignored: {error}");
    }
}
