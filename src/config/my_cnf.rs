//! `~/.my.cnf`, as the servers' own clients read it.
//!
//! Rules (MySQL manual, "Using Option Files"): groups in brackets; the last value wins; `-` and
//! `_` are the same in a name; `#` comments out the rest of a line where it is not quoted, `;`
//! only a whole line; a value may be quoted and has C-like escapes; a name may stand without a
//! value; `!include FILE` and `!includedir DIRECTORY` read others in place.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::draft::Draft;
use super::target::{Scheme, TlsMode};
use super::{found, usage};
use crate::error::{Error, Result};

const GROUPS: [&str; 3] = ["client", "client-mariadb", "osc"];

/// Files that include each other end here; the servers' clients stop at the same depth.
const MAX_DEPTH: usize = 10;

/// One option of one of our groups. `name` has `-` for `_`.
struct Setting {
    name: String,
    value: Option<String>,
    file: PathBuf,
    line: usize,
}

/// What the file says of the server; `None`: there is no such file, or nothing for us in it.
///
/// # Errors
/// `Usage` when a file cannot be read or a value cannot be used.
pub fn read(path: &Path) -> Result<Option<Draft>> {
    let mut settings = Vec::new();
    read_file(path, 0, &mut settings)?;
    draft(&settings)
}

/// The same for a file at `path` with this text.
///
/// # Errors
/// `Usage`, as [`read`].
pub fn parse(path: &Path, text: &str) -> Result<Option<Draft>> {
    let mut settings = Vec::new();
    read_text(path, text, 0, &mut settings)?;
    draft(&settings)
}

fn draft(settings: &[Setting]) -> Result<Option<Draft>> {
    if settings.is_empty() {
        return Ok(None);
    }
    let mut draft = Draft::new(Scheme::Mysql);
    for setting in settings {
        apply(&mut draft, setting).map_err(|problem| {
            usage(
                format!("{} line {}: {problem}", setting.file.display(), setting.line),
                "correct the file, or give --url",
            )
        })?;
    }
    Ok(Some(draft))
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Error {
    usage(format!("cannot read {}: {why}", path.display()), "correct the file, or give --url")
}

/// A missing file is nothing: so do the servers' clients treat one.
fn read_file(path: &Path, depth: usize, settings: &mut Vec<Setting>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(unreadable(path, "files include each other without end"));
    }
    let file = match found::text(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(()),
        Err(error) => return Err(unreadable(path, error)),
    };
    if file.world_writable() {
        tracing::warn!("{} is ignored: everybody may write to it", path.display());
        return Ok(());
    }
    let before = settings.len();
    read_text(path, &file.text, depth, settings)?;
    let own = settings.iter().skip(before).filter(|setting| setting.file == path);
    if file.world_readable() && own.into_iter().any(|setting| setting.name == "password") {
        tracing::warn!("{} holds a password and everybody may read it; chmod 600", path.display());
    }
    Ok(())
}

fn read_text(path: &Path, text: &str, depth: usize, settings: &mut Vec<Setting>) -> Result<()> {
    let mut ours = false;
    for (number, line) in text.lines().enumerate() {
        match parse_line(line) {
            Line::Nothing => {}
            Line::Group(name) => ours = GROUPS.contains(&name),
            Line::Include(file) => read_file(&beside(path, file), depth + 1, settings)?,
            Line::IncludeDir(folder) => {
                for file in option_files(&beside(path, folder))? {
                    read_file(&file, depth + 1, settings)?;
                }
            }
            Line::Setting { name, value } if ours => {
                settings.push(Setting { name, value, file: path.to_owned(), line: number + 1 });
            }
            Line::Setting { .. } => {}
        }
    }
    Ok(())
}

fn beside(file: &Path, other: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(other)
}

fn option_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, error)),
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "cnf"))
        .collect();
    files.sort();
    Ok(files)
}

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Group(&'a str),
    Include(&'a str),
    IncludeDir(&'a str),
    Setting { name: String, value: Option<String> },
}

fn parse_line(line: &str) -> Line<'_> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return Line::Nothing;
    }
    if let Some(rest) = line.strip_prefix("!includedir") {
        return Line::IncludeDir(rest.trim());
    }
    if let Some(rest) = line.strip_prefix("!include") {
        return Line::Include(rest.trim());
    }
    if let Some(rest) = line.strip_prefix('[') {
        return Line::Group(rest.split(']').next().unwrap_or_default().trim());
    }
    let line = without_comment(line).trim();
    if line.is_empty() {
        return Line::Nothing;
    }
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
        None => (line, None),
    };
    Line::Setting { name: name.to_ascii_lowercase().replace('_', "-"), value }
}

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return line.get(..at).unwrap_or(line),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open && !escaped => quote = None,
            _ => {}
        }
        escaped = quote.is_some() && c == '\\' && !escaped;
    }
    line
}

fn unquoted(value: &str) -> String {
    let inner = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value);
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b') => text.push('\u{8}'),
            Some('s') => text.push(' '),
            Some(quoted @ ('"' | '\'' | '\\')) => text.push(quoted),
            Some(other) => text.extend(['\\', other]),
            None => text.push('\\'),
        }
    }
    text
}

/// Takes over one option; options that are not about the connection are for other programs.
fn apply(draft: &mut Draft, setting: &Setting) -> std::result::Result<(), String> {
    let name = setting.name.strip_prefix("loose-").unwrap_or(&setting.name);
    let value = setting.value.as_deref().unwrap_or_default();
    let given = || Some(value.to_owned()).filter(|value| !value.is_empty());
    let on = !matches!(value.to_ascii_lowercase().as_str(), "0" | "off" | "false");
    match name {
        "host" => draft.host = given(),
        "user" => draft.user = given(),
        "password" => draft.password = given().map(SecretString::from),
        "database" => draft.database = given(),
        "port" => {
            draft.port = match value.parse() {
                Ok(0) => None,
                Ok(port) => Some(port),
                Err(_) => return Err("port is not a number from 0 to 65535".into()),
            };
        }
        "ssl" | "enable-ssl" if on => {
            if matches!(draft.tls_mode, None | Some(TlsMode::Off)) {
                draft.tls_mode = Some(TlsMode::Verify);
            }
        }
        "ssl" | "enable-ssl" | "skip-ssl" | "disable-ssl" => draft.tls_mode = Some(TlsMode::Off),
        "ssl-verify-server-cert" if on => draft.tls_mode = Some(TlsMode::Verify),
        "ssl-verify-server-cert"
        | "skip-ssl-verify-server-cert"
        | "disable-ssl-verify-server-cert" => {
            if draft.tls_mode != Some(TlsMode::Off) {
                draft.tls_mode = Some(TlsMode::NoVerify);
            }
        }
        _ => {
            draft.set_transport(name, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;

    fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn draft(text: &str) -> Draft {
        let folder = tempfile::tempdir().unwrap();
        read(&write(&folder, "my.cnf", text)).unwrap().unwrap()
    }

    fn password(text: &str) -> String {
        draft(&format!("[client]\n{text}\n")).password.unwrap().expose_secret().to_owned()
    }

    #[test]
    fn the_last_value_of_our_groups_wins_and_others_are_not_ours() {
        let draft = draft(
            "user=nobody\n[client]\nskip-ssl\nhost = db1 # note\nport=3307\n\
             [mysqld]\nhost=wrong\n[osc]\r\nhost=db2\r\n; done\n[mysql]\nuser=wrong\n\
             [client-mariadb]\nuser=me\nssl_verify_server_cert\n",
        );
        assert_eq!(draft.host.as_deref(), Some("db2"));
        assert_eq!(draft.port, Some(3307));
        assert_eq!(draft.user.as_deref(), Some("me"));
        assert_eq!(draft.tls_mode, Some(TlsMode::Verify));
    }

    #[test]
    fn quotes_comments_and_escapes_are_those_of_the_clients() {
        assert_eq!(password("password=plain"), "plain");
        assert_eq!(password("password = 'a # b' # c"), "a # b");
        assert_eq!(password("password=\"it's \\\"so\\\"\""), "it's \"so\"");
        assert_eq!(password("password=a;b"), "a;b");
        assert_eq!(password("password=cut#here"), "cut");
        assert_eq!(password(r"password=a\sb\\c\d"), r"a b\c\d");
        assert_eq!(password("password=a=b"), "a=b");
        assert_eq!(password("password='"), "'");
    }

    #[test]
    fn a_name_without_a_value_does_not_swallow_the_next_line() {
        let draft = draft("[client]\npassword\n[client]\nhost=h\nssl\n");
        assert!(draft.password.is_none());
        assert_eq!(draft.host.as_deref(), Some("h"));
        assert_eq!(draft.tls_mode, Some(TlsMode::Verify));
    }

    #[test]
    fn turning_verification_off_does_not_turn_tls_on() {
        let mode = |text| draft(&format!("[client]\n{text}")).tls_mode;
        assert_eq!(mode("skip-ssl\nssl-verify-server-cert=0"), Some(TlsMode::Off));
        assert_eq!(mode("ssl\nskip-ssl-verify-server-cert"), Some(TlsMode::NoVerify));
        assert_eq!(mode("ssl=0"), Some(TlsMode::Off));
        assert_eq!(mode("ssl-mode=VERIFY_IDENTITY"), Some(TlsMode::Verify));
    }

    #[test]
    fn included_files_are_read_in_place_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, "conf.d/b.cnf", "[client]\nuser=b\nhost=b\n");
        write(&folder, "conf.d/a.cnf", "[client]\nuser=a\nport=1\n");
        write(&folder, "conf.d/c.txt", "[client]\nuser=c\n");
        write(&folder, "one.cnf", "[client]\nhost=one\n[mysqld]\n");
        let main = "[client]\nhost=first\n!includedir conf.d\n!include one.cnf\n!include gone\n\
                    database=mine\n";
        let draft = read(&write(&folder, "my.cnf", main)).unwrap().unwrap();
        assert_eq!(draft.user.as_deref(), Some("b"));
        assert_eq!(draft.host.as_deref(), Some("one"));
        assert_eq!(draft.port, Some(1));
        assert_eq!(draft.database.as_deref(), Some("mine"));
    }

    #[test]
    fn files_that_include_themselves_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, "my.cnf", "!include my.cnf\n");
        assert!(read(&path).unwrap_err().to_string().contains("include each other"));
    }

    #[test]
    fn a_bad_value_names_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, "my.cnf", "[client]\n\nport=many\n");
        assert!(read(&path).unwrap_err().to_string().contains("my.cnf line 3: port"));
    }

    #[test]
    fn no_file_is_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(&folder.path().join("my.cnf")).unwrap().is_none());
        assert!(read(&write(&folder, "my.cnf", "[mysqld]\nport=1\n")).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in ".*") {
            let _ = parse_line(&line);
        }

        #[test]
        fn a_quoted_value_comes_back_whole(value in "[^\"\\\\\r\n]*") {
            let line = format!("password = \"{value}\" # note");
            let expected = Line::Setting { name: "password".into(), value: Some(value) };
            prop_assert_eq!(parse_line(&line), expected);
        }
    }
}
