//! `osc pause`, `resume`, `set`, `cut-over`, `abort`: steer a run from any host, by an order in the ledger.

use std::time::Duration;

use serde::Serialize;

use super::backend;
use crate::config::period::Period;
use crate::config::resolve::{self, Connection, Environment};
use crate::control::order::Verb;
use crate::engine::progress::Subject;
use crate::error::{Error, Result};
use crate::ledger::orders::NewOrder;
use crate::output::screen::{Screen, one_line};

/// The longest `--for`.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

const EXIT_CODES: &str = "\
The run answers within two seconds, and its record keeps the order: who, from where, when,
why, and the answer. The account needs SELECT on osc's ledger and INSERT on its table
osc_order, and no other right.

Exit codes:
  0  accepted
  1  not answered in time, or failed
  2  wrong usage, or cannot connect
  4  refused: by the run, or because no attempt of a run is running";

const PAUSE: &str = "\
Examples:
  osc pause users
  osc pause shop.users --why \"peak hours\" --for 30m

The copy stops and the run does not cut over; changes of the application are still applied.
`osc resume` lifts it, and so does the end of --for. Each of several holders can pause:
orders, the control file, the throttle. `osc status users` shows what holds a run.";

const RESUME: &str = "\
Examples:
  osc resume users
  osc resume shop.users --why \"peak is over\"

Lifts what orders have paused, whoever made them. The answer names what still holds the run:
a control file, the throttle and --hold are lifted where they come from.";

const SET: &str = "\
Examples:
  osc set users threads=2
  osc set shop.users max_rows_per_second=20000 max_lag=5s --for 30m
  osc set users cut_over=hold
  osc set users threads=default

The settings, with the values that the control file takes:
  cut_over              auto, hold, now
  max_rows_per_second   a number of rows
  threads               1 to 32
  chunk_time, max_lag   a duration: 500ms, 2s

Of the command line, the control file and orders the last writer wins. `default` takes back
what orders have set, and the end of --for what this order has set.";

const CUT_OVER: &str = "\
Examples:
  osc cut-over users
  osc cut-over shop.users --why \"release 42\" --for 2h

Permits the cut-over of a run that was begun with --hold; it follows as soon as the copy is
complete and verified, and nothing else holds the run. `osc set users cut_over=hold` takes
the permission back.";

const ABORT: &str = "\
Examples:
  osc abort users --why \"not today\"

The run ends with exit code 3 and keeps its copy: the same command resumes it, `osc cleanup`
discards it. A swap that has begun is seen through.";

/// What every order has.
#[derive(Debug, clap::Args)]
struct Common {
    /// Where to connect.
    #[command(flatten)]
    connection: Connection,
    /// Why, for the run's record
    #[arg(long, value_name = "TEXT", help_heading = "Order")]
    why: Option<String>,
    /// Print one JSON object, as docs/use/json.md describes it
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// What orders have that last.
#[derive(Debug, clap::Args)]
struct Lasting {
    /// Let the order expire after this time [default: it lasts as long as the run's attempt]
    #[arg(long = "for", value_name = "DURATION", help_heading = "Order")]
    lasts: Option<Period>,
}

/// The arguments of `osc pause`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{PAUSE}\n\n{EXIT_CODES}"))]
pub struct PauseArgs {
    /// The table that the run changes: users, shop.users
    table: String,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    lasting: Lasting,
}

/// The arguments of `osc resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{RESUME}\n\n{EXIT_CODES}"))]
pub struct ResumeArgs {
    /// The table that the run changes: users, shop.users
    table: String,
    #[command(flatten)]
    common: Common,
}

/// The arguments of `osc set`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{SET}\n\n{EXIT_CODES}"))]
pub struct SetArgs {
    /// The table that the run changes: users, shop.users
    table: String,
    /// The settings and their new values
    #[arg(required = true, value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    lasting: Lasting,
}

/// The arguments of `osc cut-over`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{CUT_OVER}\n\n{EXIT_CODES}"))]
pub struct CutOverArgs {
    /// The table that the run changes: users, shop.users
    table: String,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    lasting: Lasting,
}

/// The arguments of `osc abort`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{ABORT}\n\n{EXIT_CODES}"))]
pub struct AbortArgs {
    /// The table that the run changes: users, shop.users
    table: String,
    #[command(flatten)]
    common: Common,
}

/// An order as it was given.
#[derive(Debug)]
pub(super) struct Given {
    table: String,
    common: Common,
    verb: Verb,
    arguments: String,
    lasts: Option<Period>,
}

impl From<PauseArgs> for Given {
    fn from(args: PauseArgs) -> Self {
        Self::new(args.table, args.common, Verb::Pause, args.lasting.lasts)
    }
}

impl From<ResumeArgs> for Given {
    fn from(args: ResumeArgs) -> Self {
        Self::new(args.table, args.common, Verb::Resume, None)
    }
}

impl From<SetArgs> for Given {
    fn from(args: SetArgs) -> Self {
        let given = Self::new(args.table, args.common, Verb::Set, args.lasting.lasts);
        Self { arguments: args.settings.join(" "), ..given }
    }
}

impl From<CutOverArgs> for Given {
    fn from(args: CutOverArgs) -> Self {
        Self::new(args.table, args.common, Verb::CutOver, args.lasting.lasts)
    }
}

impl From<AbortArgs> for Given {
    fn from(args: AbortArgs) -> Self {
        Self::new(args.table, args.common, Verb::Abort, None)
    }
}

macro_rules! prints_json {
    ($($args:ident)+) => {
        $(impl $args {
            /// Whether JSON is wanted.
            pub(super) fn json(&self) -> bool {
                self.common.json
            }
        })+
    };
}

prints_json! { PauseArgs ResumeArgs SetArgs CutOverArgs AbortArgs }

/// What became of it, in JSON.
#[derive(Serialize)]
struct Line<'a> {
    server: String,
    table: &'a str,
    run: i64,
    order: i64,
    verb: &'static str,
    outcome: &'static str,
    answer: &'a str,
}

impl Given {
    fn new(table: String, common: Common, verb: Verb, lasts: Option<Period>) -> Self {
        Self { table, common, verb, arguments: String::new(), lasts }
    }

    /// Makes the order, and prints the answer.
    ///
    /// # Errors
    /// `Order` where it had no effect.
    pub(super) async fn run(self, screen: &Screen, subject: &Subject) -> Result<()> {
        let Common { connection, why, json } = &self.common;
        let environment = Environment::of_process();
        let target = resolve::target(connection, &environment)?;
        subject.set_server(&target.address);
        let table = backend::table(target.scheme, &self.table)?;
        subject.set_table(table.plain());
        if self.lasts.is_some_and(|lasts| lasts.get() > LONGEST) {
            return Err(Error::Usage {
                message: "--for is longer than a year".into(),
                help: "leave it out for an order that lasts as long as the run's attempt".into(),
            });
        }
        let order = NewOrder {
            verb: self.verb,
            arguments: self.arguments,
            why: why.clone(),
            host: whence(environment.login()),
            lasts: self.lasts.map(Period::get),
        };
        let made = backend::order(&target, &table, &order).await?;
        subject.set_table(&made.table);
        subject.set_run(made.run);
        let text = made.accepted()?;
        if *json {
            return screen.json(&Line {
                server: target.address.to_string(),
                table: &made.table,
                run: made.run,
                order: made.order,
                verb: self.verb.word(),
                outcome: "accepted",
                answer: text,
            });
        }
        screen.answer(&format!(
            "order {} for run {} on {}: accepted: {}",
            made.order,
            made.run,
            one_line(&made.table),
            one_line(text)
        ))
    }
}

/// Who runs the program, and on which machine: `ann@ops1`.
fn whence(login: Option<&str>) -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let parts = login.into_iter().chain([name.trim()]).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("@")
}
