//! libpq's own settings: `PG*` variables, the service file, the password file (manual, "Environment
//! Variables", "The Connection Service File", "The Password File").

use std::fs;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::draft::Draft;
use super::parameters::{self, PARAMETERS, SETTINGS};
use super::target::{Address, Scheme, Target};
use super::{found, usage};
use crate::error::Result;

/// What the environment says; `None` when it names no server. `get` reads a variable.
///
/// # Errors
/// `Usage` for a port that is none, or a service that is not there.
pub fn read<'a>(get: &dyn Fn(&str) -> Option<&'a str>) -> Result<Option<Draft>> {
    let named = ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGPORT"];
    if named.iter().all(|name| get(name).is_none()) {
        return Ok(None);
    }
    defaults(get).map(Some)
}

/// What the environment says of whatever a URL leaves open, as libpq takes it.
///
/// # Errors
/// `Usage` for a value that is none, a variable that osc cannot honour, or a service that is not there.
pub fn defaults<'a>(get: &dyn Fn(&str) -> Option<&'a str>) -> Result<Draft> {
    let mut draft = Draft::new(Scheme::Postgres);
    if let Some(service) = get("PGSERVICE") {
        let file = get("PGSERVICEFILE")
            .map(PathBuf::from)
            .or_else(|| get("HOME").map(|home| Path::new(home).join(".pg_service.conf")));
        apply_service(&mut draft, service, file.as_deref())?;
    }
    // The password is looked for when everything else is known.
    let read_elsewhere = ["PGSERVICE", "PGSERVICEFILE", "PGPASSWORD", "PGPASSFILE"];
    for (name, variable, _) in PARAMETERS {
        let Some(variable) = variable.filter(|variable| !read_elsewhere.contains(variable)) else {
            continue;
        };
        if let Some(value) = get(variable) {
            parameters::set(&mut draft, name, value).map_err(|problem| {
                usage(format!("{variable}: {problem}"), "correct it, or unset it")
            })?;
        }
    }
    for (variable, setting) in SETTINGS {
        if let Some(value) = get(variable) {
            draft.wire.options.push((setting.into(), value.into()));
        }
    }
    Ok(draft)
}

fn apply_service(draft: &mut Draft, service: &str, file: Option<&Path>) -> Result<()> {
    let Some(path) = file else { return parse_service(draft, service, "") };
    let found = found::text(path).map_err(|error| {
        usage(format!("cannot read the service file {}: {error}", path.display()), "correct it")
    })?;
    parse_service(draft, service, found.as_ref().map_or("", |found| &found.text))?;
    if draft.password.is_some() && found.is_some_and(|found| found.world_readable()) {
        tracing::warn!("{} holds a password and everybody may read it; chmod 600", path.display());
    }
    Ok(())
}

/// Adds to `draft` what a service file of this text says of `service`.
///
/// # Errors
/// `Usage` for a service that is not there, or a port that is none.
pub fn parse_service(draft: &mut Draft, service: &str, text: &str) -> Result<()> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| *line == format!("[{service}]")).ok_or_else(|| {
        usage(
            format!("the service {service:?} of PGSERVICE is in no service file"),
            "write it into ~/.pg_service.conf",
        )
    })?;
    for line in lines.take_while(|line| !line.starts_with('[')) {
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        parameters::set(draft, name.trim(), value.trim()).map_err(|problem| {
            usage(format!("the service {service:?}: {problem}"), "correct the service file")
        })?;
    }
    Ok(())
}

/// The password for `target` from `PGPASSWORD` or the password file.
pub fn password<'a>(
    target: &Target,
    get: &dyn Fn(&str) -> Option<&'a str>,
) -> Option<SecretString> {
    if let Some(password) = get("PGPASSWORD") {
        return Some(SecretString::from(password));
    }
    let file = (target.wire.passfile.clone())
        .or_else(|| get("PGPASSFILE").map(PathBuf::from))
        .or_else(|| get("HOME").map(|home| Path::new(home).join(".pgpass")))?;
    if open_to_others(&file) {
        tracing::warn!("{} is not used: others may read it; chmod 600", file.display());
        return None;
    }
    let text = match found::text(&file) {
        Ok(found) => found?.text,
        Err(error) => {
            tracing::warn!("{} is not used: {error}", file.display());
            return None;
        }
    };
    let (host, port) = match &target.address {
        Address::Tcp { host, port } => (host.as_str(), port.to_string()),
        Address::Socket(path) => {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let port = name.strip_prefix(".s.PGSQL.").unwrap_or("5432").to_owned();
            ("localhost", port)
        }
    };
    let database = target.database();
    find_password(&text, [host, &port, database, &target.user])
}

/// The password that a password file of this text has for a host, a port, a database and a user.
pub fn find_password(text: &str, wanted: [&str; 4]) -> Option<SecretString> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let [host, port, database, user, password] = fields.as_slice() else { return None };
        let matches = [host, port, database, user]
            .iter()
            .zip(wanted)
            .all(|(field, wanted)| *field == "*" || *field == wanted);
        matches.then(|| SecretString::from(password.as_str()))
    })
}

#[cfg(unix)]
fn open_to_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn open_to_others(_: &Path) -> bool {
    false
}

/// The fields between colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => fields.push(String::new()),
            character => {
                let plain =
                    if character == '\\' { characters.next().unwrap_or('\\') } else { character };
                if let Some(last) = fields.last_mut() {
                    last.push(plain);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn variables<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
        |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    #[test]
    fn variables_win_over_their_service() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pg_service.conf");
        fs::write(
            &file,
            "[other]\nhost=no\n[shop]\nhost = db\nport=5433\ndbname=shop\n[x]\nport=1",
        )
        .unwrap();
        let home = home.path().to_str().unwrap();
        let pairs = [("HOME", home), ("PGSERVICE", "shop"), ("PGPORT", "5434"), ("PGUSER", "me")];
        let draft = read(&variables(&pairs)).unwrap().unwrap();
        assert_eq!(draft.host.as_deref(), Some("db"));
        assert_eq!((draft.port, draft.database.as_deref()), (Some(5434), Some("shop")));
        let pairs = [("HOME", home), ("PGSERVICE", "nowhere")];
        assert!(read(&variables(&pairs)).is_err());
        assert!(read(&variables(&[("HOME", home)])).unwrap().is_none());
    }

    #[test]
    fn the_password_file_is_read_line_by_line() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        fs::write(&file, "# h:*:*:*:no\nh:5432:other:*:no\nh:*:sh\\:op:me:a\\:b\\\\c\n*:*:*:*:any")
            .unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let mut draft = Draft::new(Scheme::Postgres);
        draft.host = Some("h".into());
        draft.database = Some("sh:op".into());
        let target = draft.complete(Some("me")).unwrap();
        let home = home.path().to_str().unwrap();
        let found = |pairs: &[(&str, &str)]| {
            password(&target, &variables(pairs)).unwrap().expose_secret().to_owned()
        };
        assert_eq!(found(&[("HOME", home)]), "a:b\\c");
        assert_eq!(found(&[("HOME", home), ("PGPASSWORD", "env")]), "env");
    }

    proptest! {
        #[test]
        fn whatever_files_say_is_read_or_refused_and_no_password_is_reported(
            service in "([a-z ]*\\[[a-z]*\\]|(host|port|dbname|user|password|sslmode|ldap) ?= ?.*|#.*|.*)(\n(\\[s\\]|password=hunter2|port=.{0,6}|host=.*|.*)){0,6}",
            passwords in "(#?[a-z*:\\\\]*\n?.*){0,4}",
        ) {
            let home = tempfile::tempdir().unwrap();
            std::fs::write(home.path().join(".pg_service.conf"), &service).unwrap();
            std::fs::write(home.path().join(".pgpass"), &passwords).unwrap();
            let folder = home.path().to_str().unwrap();
            let pairs = [("HOME", folder), ("PGSERVICE", "s")];
            let variables = variables(&pairs);
            if let Err(error) = read(&variables) {
                prop_assert!(!error.to_string().contains("hunter2"), "{error}");
            }
            passwords.lines().for_each(|line| drop(fields(line)));
        }
    }
}
