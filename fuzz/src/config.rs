//! What an operator writes: files, URLs, lengths of time. No error tells a password.

use std::path::Path;

use osc::config::draft::Draft;
use osc::config::period::Period;
use osc::config::target::Scheme;
use osc::config::window::Window;
use osc::config::{self, libpq};
use osc::error::Error;

/// Stands in each part of a password.
const SECRET: &str = "zqjxzq";

/// A password whose parts, however it is cut, are known again.
fn password(text: &str) -> String {
    let mut password = SECRET.to_owned();
    for c in text.chars().filter(|c| !c.is_control()).take(200) {
        password.push(c);
        if !c.is_alphanumeric() {
            password.push_str(SECRET);
        }
    }
    password
}

fn keeps_secret<T>(read: Result<T, Error>) -> Option<T> {
    let error = match read {
        Ok(read) => return Some(read),
        Err(error) => error,
    };
    let told = format!("{error} {error:?} {}", error.help().unwrap_or_default());
    assert!(!told.contains(SECRET), "{told}");
    None
}

/// The control file.
pub(crate) fn control_file(bytes: &[u8]) {
    let asked = osc::control::file::of_bytes(bytes);
    if let Some(reason) = asked.pause.map(|holder| holder.what) {
        assert!(!reason.contains('\n'), "{reason}");
    }
}

/// `osc.toml`.
pub(crate) fn osc_toml(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else { return };
    let path = Path::new("osc.toml");
    let _ = config::file::parse(path, text);
    let password = password(text);
    for url in [format!("\"mysql://me:{password}@db/shop\""), format!("me:{password}@db")] {
        let mistaken = format!("[profiles.default]\nurl = {url}\n{}", "alter = 1");
        keeps_secret(config::file::parse(path, &mistaken));
    }
}

/// `.my.cnf`.
pub(crate) fn my_cnf(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else { return };
    // Other files are not for here.
    if text.contains("!include") {
        return;
    }
    let path = Path::new(".my.cnf");
    let _ = config::my_cnf::parse(path, text);
    let password = password(text);
    for quote in ["", "'", "\""] {
        let file = format!("[client]\npassword = {quote}{password}{quote}\nport = many\n");
        keeps_secret(config::my_cnf::parse(path, &file));
    }
}

/// libpq's service file and password file.
pub(crate) fn libpq(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else { return };
    let mut draft = Draft::new(Scheme::Postgres);
    let _ = libpq::parse_service(&mut draft, "shop", text);
    let _ = libpq::find_password(text, ["localhost", "5432", "shop", "me"]);
    let file = format!("[shop]\npassword = {}\nport = many\n", password(text));
    keeps_secret(libpq::parse_service(&mut draft, "shop", &file));
}

/// Connection URLs.
pub(crate) fn url(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else { return };
    if let Ok(draft) = config::url::parse(text) {
        let _ = draft.complete(Some("me"));
    }
    for scheme in ["mysql", "mariadb", "postgres"] {
        let url = format!("{scheme}://me:{}@db:3306/shop?ssl-mode=required", password(text));
        if let Some(draft) = keeps_secret(config::url::parse(&url)) {
            let target = draft.complete(None);
            assert!(!format!("{:?}", target.map(|target| target.password)).contains(SECRET));
        }
    }
}

/// Lengths of time, and windows of hours.
pub(crate) fn period(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else { return };
    if let Ok(period) = text.parse::<Period>() {
        assert_eq!(period.to_string().parse(), Ok(period));
    }
    if let Ok(window) = text.parse::<Window>() {
        let again: Window = window.to_string().parse().expect("what was read is read again");
        for second in [i64::MIN, -1, 0, 1_774_746_000, 1_792_893_600, i64::MAX] {
            let at = jiff_timestamp(second);
            let wait = window.opens_in(at);
            assert_eq!(again.opens_in(at), wait);
            assert_eq!(window.is_open(at), wait.is_some_and(|wait| wait.is_zero()));
        }
    }
}

fn jiff_timestamp(second: i64) -> jiff::Timestamp {
    let (least, most) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    jiff::Timestamp::from_second(second.clamp(least, most)).unwrap_or_default()
}
