//! The operator's directives from all sides: the control file, orders, and the process's signals.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::order::{self, Answer, Verb, Written};
use super::orders::Orders;
use super::wishes::combine;
use super::{CutOver, Directives, InForce, Key, file};

/// How often orders are looked at for those whose time is over.
const EXPIRY: Duration = Duration::from_millis(250);

/// The exit code of a run that can be resumed.
const RESUMABLE: i32 = 3;

/// Where the operator's sides are put together, and where orders are handed in. Clones are one place.
#[derive(Debug, Clone)]
pub(crate) struct Desk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sides: Mutex<Sides>,
    directives: watch::Sender<Directives>,
}

#[derive(Debug)]
struct Sides {
    base: Directives,
    file: Option<file::Said>,
    orders: Orders,
    /// The program was asked to end, or an order asked for it.
    ended: bool,
    table: String,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The answer.
    pub(crate) answer: Answer,
    /// What it asked for.
    pub(crate) verb: Option<Verb>,
}

impl Desk {
    /// Where nobody has said anything yet: `base` holds.
    pub(crate) fn new(base: Directives) -> Self {
        let directives = watch::Sender::new(base.clone());
        let table = "TABLE".to_owned();
        let sides = Sides { base, file: None, orders: Orders::default(), ended: false, table };
        Self(Arc::new(Shared { sides: Mutex::new(sides), directives }))
    }

    /// What all sides amount to.
    pub(crate) fn directives(&self) -> watch::Receiver<Directives> {
        self.0.directives.subscribe()
    }

    /// The table, for commands that are printed.
    pub(crate) fn set_table(&self, table: &str) {
        self.change(|sides| table.clone_into(&mut sides.table));
    }

    /// An order takes effect, or is refused. One that ends the run takes effect by [`Desk::abort`], so that
    /// it can be answered first.
    pub(crate) fn take(&self, order: &Written) -> Taken {
        let before = self.0.directives.borrow().clone();
        let refused = |answer| Taken { answer, verb: None };
        let effect = match order::parse(order) {
            Ok(effect) => effect,
            Err(answer) => return refused(answer),
        };
        let verb = effect.verb(&order.verb);
        let keys: Vec<Key> = effect.keys().collect();
        let taken = self.change(|sides| sides.orders.take(order, effect, Instant::now()));
        let said = match taken {
            Ok(said) => said,
            Err(why) => return refused(Answer::Refused(why)),
        };
        let text = match verb {
            Verb::Pause => "the copy is paused, and the run does not cut over".into(),
            Verb::Resume => said,
            Verb::CutOver => "the cut-over is permitted".into(),
            Verb::Abort => "the run stops; the same command resumes it".into(),
            Verb::Set => self.became(&keys, &before),
        };
        Taken { answer: Answer::Accepted(text), verb: Some(verb) }
    }

    /// `threads is 2, before 4 (command line)`.
    fn became(&self, keys: &[Key], before: &Directives) -> String {
        let (now, before) = (self.0.directives.borrow().in_force(), before.in_force());
        let pairs = now.iter().zip(&before);
        let shown = pairs.filter(|(now, _)| keys.iter().any(|key| key.name() == now.key));
        let value = |of: &InForce| of.value.clone().unwrap_or_else(|| "unlimited".into());
        let one = |(now, before): (&InForce, &InForce)| {
            format!("{} is {}, before {} ({})", now.key, value(now), value(before), before.origin)
        };
        shown.map(one).collect::<Vec<_>>().join("; ")
    }

    /// Ends the run, for good.
    pub(crate) fn abort(&self) {
        self.change(|sides| sides.ended = true);
    }

    /// Forgets orders whose time is over.
    pub(crate) fn expire(&self) {
        self.change(|sides| sides.orders.expire(Instant::now()));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Sides) -> T) -> T {
        let mut sides = self.0.sides.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut sides);
        let now = sides.together();
        // Under the lock, so that the last to change is the last to say so.
        self.0.directives.send_if_modified(|directives| {
            let differs = *directives != now;
            *directives = now;
            differs
        });
        outcome
    }
}

impl Sides {
    fn together(&self) -> Directives {
        let file = self.file.iter();
        let sides: Vec<_> = file.clone().map(file::Said::side).chain(self.orders.sides()).collect();
        let pauses = file.clone().filter_map(|said| said.pause.clone());
        let pauses = pauses.chain(self.orders.pauses(&self.table)).collect();
        let mut now = combine(&self.base, &sides, pauses);
        now.abort |= self.ended || self.file.as_ref().is_some_and(|said| said.abort);
        now
    }
}

/// Follows the control file, if there is one, and the signals that ask a program to end: the
/// first sets [`Directives::abort`], which stays; the second ends the program on the spot, which
/// a run survives as it survives a crash. `base` is what holds without a control file and without orders.
/// Ends when the handle is dropped.
///
/// # Errors
/// When the process cannot listen to signals.
///
/// # Panics
/// Outside a tokio runtime.
pub(crate) fn steer(
    control_file: Option<PathBuf>,
    base: Directives,
) -> io::Result<(Desk, AbortOnDropHandle<()>)> {
    let mut ends = Ends::listen()?;
    let mut followed = control_file.map(|path| file::watch(path, base.cut_over == CutOver::Hold));
    let desk = Desk::new(base);
    if let Some((file, _)) = &mut followed {
        let said = file.borrow_and_update().clone();
        desk.change(|sides| sides.file = Some(said));
    }
    let at = desk.clone();
    let task = tokio::spawn(async move {
        let mut asked_to_end = false;
        let mut ticks = tokio::time::interval(EXPIRY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let changed = async {
                if let Some((file, _)) = &mut followed
                    && file.changed().await.is_ok()
                {
                    return file.borrow_and_update().clone();
                }
                std::future::pending().await
            };
            tokio::select! {
                said = changed => at.change(|sides| sides.file = Some(said)),
                _ = ticks.tick() => at.expire(),
                () = ends.next() => {
                    if asked_to_end {
                        std::process::exit(RESUMABLE);
                    }
                    asked_to_end = true;
                    at.abort();
                }
            }
        }
    });
    Ok((desk, AbortOnDropHandle::new(task)))
}

/// The signals that ask a program to end.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal has gone. `None` where it is ignored: listening would undo `nohup`.
    hangup: Option<Signal>,
}

impl Ends {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether this process was started with SIGHUP ignored, as `nohup` does. Where the system does not
/// say so, it is taken to be: a run that is killed can be resumed as well.
fn ignores_hangup() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_asks_for_the_end_and_the_file_does_not_take_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("F");
        let (desk, _task) = steer(Some(path.clone()), Directives::default()).unwrap();
        let mut directives = desk.directives();
        assert!(!directives.borrow_and_update().abort);

        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        directives.wait_for(|now| now.abort).await.unwrap();

        std::fs::write(&path, "pause = true\nabort = false").unwrap();
        let now = directives.wait_for(|now| now.pause.is_some()).await.unwrap();
        assert!(now.abort);
    }
    fn order(number: i64, verb: &str, arguments: &str) -> Written {
        let author = crate::control::Author {
            order: number,
            who: "ann".into(),
            ..crate::control::Author::default()
        };
        let (verb, arguments) = (verb.into(), arguments.into());
        Written { author, verb, arguments, ..Written::default() }
    }

    #[tokio::test]
    async fn file_and_orders_each_pause_and_of_a_setting_the_last_writer_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("F");
        std::fs::write(&path, "threads = 2\npause = true").unwrap();
        let (desk, _task) = steer(Some(path.clone()), Directives::default()).unwrap();
        let mut directives = desk.directives();
        let accepted = |taken: Taken| match taken.answer {
            Answer::Accepted(text) => text,
            answer => panic!("{answer}"),
        };
        accepted(desk.take(&order(1, "pause", "")));
        assert_eq!(directives.borrow().pauses.len(), 2);
        assert_eq!(accepted(desk.take(&order(2, "resume", ""))), "lifted order 1 of ann");
        assert_eq!(directives.borrow().pauses.len(), 1, "the file still says so");

        let said = accepted(desk.take(&order(3, "set", "threads=3")));
        assert_eq!(said, format!("threads is 3, before 2 (control file {})", path.display()));
        std::fs::write(&path, "threads = 4").unwrap();
        directives.wait_for(|now| now.threads.map(Into::into) == Some(4_usize)).await.unwrap();
        accepted(desk.take(&order(4, "set", "threads=5")));
        assert_eq!(directives.borrow().threads.map(Into::into), Some(5_usize));
        accepted(desk.take(&order(5, "set", "threads=default")));
        assert_eq!(directives.borrow().threads.map(Into::into), Some(4_usize));
        std::fs::remove_file(&path).unwrap();
        directives.wait_for(|now| now.threads.is_none()).await.unwrap();
    }

    #[tokio::test]
    async fn permission_by_an_order_can_be_taken_back_and_expires() {
        let hold = Directives { cut_over: CutOver::Hold, ..Directives::default() };
        let (desk, _task) = steer(None, hold).unwrap();
        let mut directives = desk.directives();
        assert!(!directives.borrow().permit(true));
        desk.take(&order(1, "cut-over", ""));
        assert!(directives.borrow().permit(true));
        desk.take(&order(2, "set", "cut_over=hold"));
        assert!(!directives.borrow().permit(true));
        let brief = Written { lasts: Some(Duration::from_millis(100)), ..order(3, "cut-over", "") };
        desk.take(&brief);
        assert!(directives.borrow_and_update().permit(true));
        directives.wait_for(|now| !now.permit(true)).await.unwrap();
    }

    #[tokio::test]
    async fn an_order_to_abort_is_answered_before_it_takes_effect() {
        let (desk, _task) = steer(None, Directives::default()).unwrap();
        let taken = desk.take(&order(1, "abort", ""));
        assert_eq!(taken.verb, Some(Verb::Abort));
        assert!(!desk.directives().borrow().abort);
        desk.abort();
        assert!(desk.directives().borrow().abort);
    }
}
