//! Which of a server's sessions are this process's: MariaDB's process list does not show whose
//! program a session belongs to.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mysql_async::{Conn, Opts};

/// Host, port and session number. Servers do not use a number again while they run.
type Known = HashSet<(String, u16, u64)>;

static OURS: Mutex<Option<Known>> = Mutex::new(None);

fn known() -> MutexGuard<'static, Option<Known>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entry(opts: &Opts, session: u64) -> (String, u16, u64) {
    (opts.ip_or_hostname().to_owned(), opts.tcp_port(), session)
}

/// Sessions that are being opened: the server has them before osc knows their numbers.
static OPENING: AtomicUsize = AtomicUsize::new(0);

/// A session that is being opened, until it is noted or has failed.
#[derive(Debug)]
pub(crate) struct Opening(());

impl Opening {
    pub(crate) fn begin() -> Self {
        OPENING.fetch_add(1, Ordering::SeqCst);
        Self(())
    }

    /// How many there are.
    pub(crate) fn count() -> usize {
        OPENING.load(Ordering::SeqCst)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        OPENING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Notes a session of ours.
pub(crate) fn note(conn: &Conn) {
    let session = entry(conn.opts(), conn.id().into());
    known().get_or_insert_default().insert(session);
}

/// The numbers of our sessions of the server that `opts` name.
pub(crate) fn all(opts: &Opts) -> Vec<u32> {
    let (host, port, _) = entry(opts, 0);
    let known = known();
    let here = known.iter().flatten().filter(|(of, at, _)| *of == host && *at == port);
    here.filter_map(|(.., session)| u32::try_from(*session).ok()).collect()
}

/// Whether this session of the server that `opts` name is ours.
pub(crate) fn is_ours(opts: &Opts, session: u64) -> bool {
    known().as_ref().is_some_and(|known| known.contains(&entry(opts, session)))
}
