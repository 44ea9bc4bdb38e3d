//! Which connection and which settings a command line means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use secrecy::SecretString;

use super::file::{self, Profile};
use super::listen::HttpSettings;
use super::notify::NotifySettings;
use super::settings::Settings;
use super::target::{Scheme, Target};
use super::{libpq, my_cnf, url, usage};
use crate::error::Result;

/// What the command line says of the connection.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Where to connect: mysql://USER:PASSWORD@HOST:PORT/DATABASE, or mariadb://, postgres://
    ///
    /// Without it: $OSC_URL, $DATABASE_URL, a profile of osc.toml, then libpq's $PG… variables or
    /// ~/.my.cnf. A password given here shows in the process list: $OSC_URL, $MYSQL_PWD, $PGPASSWORD,
    /// osc.toml, ~/.my.cnf and ~/.pgpass do not. Parameters: socket, ssl-mode, ssl-ca, ssl-cert,
    /// ssl-key; for PostgreSQL libpq's, as ?host=/tmp&sslmode=require: each is honoured, or refused with
    /// the reason (docs/use/connecting.md); the $PG… variables fill in what a PostgreSQL URL leaves out. TLS is
    /// off for this machine and verified for others, unless ssl-mode says otherwise. No password is sent to
    /// another host in clear text.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The profile of osc.toml to use; its URL wins over the environment [default: default]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// The file with the profiles [default: ./osc.toml, then ~/.config/osc/osc.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The schema (MySQL, MariaDB: database) that osc keeps its ledger in; also $OSC_LEDGER, or
    /// `ledger` in a profile [default: osc]
    #[arg(long, value_name = "NAME")]
    pub ledger: Option<String>,
}

/// The process's surroundings, as far as they matter.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// This process's.
    pub(crate) fn of_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { variables: std::env::vars_os().filter_map(utf8).collect() }
    }

    /// A variable; an empty one counts as absent.
    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Who runs the program.
    pub(crate) fn login(&self) -> Option<&str> {
        self.get("USER").or_else(|| self.get("LOGNAME"))
    }

    fn config_files(&self) -> Vec<PathBuf> {
        let home = || self.get("HOME").map(|home| PathBuf::from(home).join(".config"));
        let folder = self.get("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
        let named = folder.map(|folder| folder.join("osc").join("osc.toml"));
        std::iter::once(PathBuf::from("osc.toml")).chain(named).collect()
    }
}

/// The target that a command line and its surroundings name.
///
/// In order: `--url`; the URL of a profile that `--profile` or `--config` names;
/// `$OSC_URL`; `$DATABASE_URL`; the URL of the default profile; libpq's `PG*` variables; `~/.my.cnf`.
///
/// # Errors
/// `Usage` when nothing names one, or what does has a mistake.
pub(crate) fn target(connection: &Connection, environment: &Environment) -> Result<Target> {
    let profile = profile(connection, environment)?;
    find_target(connection, environment, profile.as_ref()).map(|(target, _)| target)
}

/// The target, the replicas and the settings of an `osc alter`.
///
/// # Errors
/// `Usage`, as [`target`], and for replicas that make no sense.
pub(crate) fn alter(
    connection: &Connection,
    given: Settings,
    environment: &Environment,
) -> Result<(Target, Vec<Target>, Settings)> {
    let profile = profile(connection, environment)?;
    let (target, from_profile) = find_target(connection, environment, profile.as_ref())?;
    let lag_asked = given.max_lag.is_some();
    let base = of_its_server(profile, from_profile);
    let notify = heard(given.notify.clone(), base.notify.clone(), environment)?;
    let variables = HttpSettings::of_environment(|name| environment.get(name))?;
    let http = given.http.clone().over(variables).over(base.http.clone());
    let mut settings = given.over(base);
    (settings.notify, settings.http) = (notify, http);
    // PostgreSQL reports its standbys itself.
    if lag_asked && settings.replicas.is_empty() && target.scheme == Scheme::Mysql {
        return Err(usage("--max-lag has no replica to watch", "name one with --replica URL"));
    }
    if let Some(like) = settings.treat_as.filter(|like| *like != target.scheme) {
        let (like, other) = (family(like), family(target.scheme));
        return Err(usage(
            format!("--treat-as {like} has no meaning here: the URL names a {other} server"),
            format!("give --treat-as {other}, or a {like} URL"),
        ));
    }
    let replica = |url: &String| url::parse(url)?.like(&target).complete(environment.login());
    let replicas = settings.replicas.iter().map(replica).collect::<Result<Vec<_>>>()?;
    Ok((target, replicas, settings))
}

/// The target of a command that has no settings but those of notifications.
///
/// # Errors
/// `Usage`, as [`target`].
pub(crate) fn notifying(
    connection: &Connection,
    given: NotifySettings,
    environment: &Environment,
) -> Result<(Target, NotifySettings)> {
    let profile = profile(connection, environment)?;
    let (target, from_profile) = find_target(connection, environment, profile.as_ref())?;
    let base = of_its_server(profile, from_profile).notify;
    Ok((target, heard(given, base, environment)?))
}

/// Flags over environment over the profile.
fn heard(
    given: NotifySettings,
    of_profile: NotifySettings,
    environment: &Environment,
) -> Result<NotifySettings> {
    if given.webhooks.iter().any(|url| url.expose().starts_with("slack:")) {
        tracing::warn!("the URL in --webhook shows in the process list; $OSC_WEBHOOK does not");
    }
    let variable = |name: &str| environment.get(name);
    given.over(NotifySettings::of_environment(variable)?).over(of_profile).with_variables(variable)
}

/// The profile's settings. They belong to its server: elsewhere its query or its control file would mean
/// something else. A profile that names no server is for any.
fn of_its_server(profile: Option<Profile>, from_profile: bool) -> Settings {
    let Some(profile) = profile else { return Settings::default() };
    let mut settings = profile.alter;
    (settings.notify, settings.http) = (profile.notify, profile.http);
    if from_profile || profile.url.is_none() {
        return settings;
    }
    if settings != Settings::default() {
        tracing::warn!(
            "the settings of the profile are not used: they are for its own URL, and another \
             one is given"
        );
    }
    Settings::default()
}

/// The word of `--treat-as`, and of a URL.
fn family(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Mysql => "mysql",
        Scheme::Postgres => "postgres",
    }
}

fn profile(connection: &Connection, environment: &Environment) -> Result<Option<Profile>> {
    file::profile(
        connection.config.as_deref(),
        connection.profile.as_deref(),
        &environment.config_files(),
    )
}

/// The target, and whether it is the profile's.
fn find_target(
    connection: &Connection,
    environment: &Environment,
    profile: Option<&Profile>,
) -> Result<(Target, bool)> {
    let asked = connection.profile.is_some() || connection.config.is_some();
    let of_profile = profile.and_then(|profile| profile.url.as_deref()).map(|url| (url, true));
    let (first, last) = if asked { (of_profile, None) } else { (None, of_profile) };
    let found = (connection.url.as_deref().map(|url| (url, false)))
        .or(first)
        .or_else(|| environment.get("OSC_URL").map(|url| (url, false)))
        .or_else(|| environment.get("DATABASE_URL").map(|url| (url, false)))
        .or(last);
    let (mut draft, from_profile) = match found {
        Some((text, from_profile)) => {
            let draft = url::parse(text)?;
            // What a URL leaves open libpq takes from its variables, and so does osc.
            let draft = match draft.scheme {
                Scheme::Postgres => draft.or(libpq::defaults(&|name| environment.get(name))?),
                Scheme::Mysql => draft,
            };
            (draft, from_profile)
        }
        None => (option_file(environment)?, false),
    };
    if connection.url.is_some() && draft.password.is_some() {
        let variable = match draft.scheme {
            Scheme::Mysql => "MYSQL_PWD",
            Scheme::Postgres => "PGPASSWORD",
        };
        tracing::warn!(
            "the password in --url shows in the process list; $OSC_URL and ${variable} do not"
        );
    }
    let command = profile.and_then(|profile| profile.password_command.as_deref());
    if draft.password.is_none() {
        draft.password = match command.filter(|_| from_profile) {
            Some(command) => Some(password_of(command)?),
            None if draft.scheme == Scheme::Mysql => {
                environment.get("MYSQL_PWD").map(SecretString::from)
            }
            None => None,
        };
    }
    let mut target = draft.complete(environment.login())?;
    let of_profile = profile.filter(|_| from_profile).and_then(|profile| profile.ledger.as_deref());
    let ledger = connection.ledger.as_deref().or_else(|| environment.get("OSC_LEDGER"));
    if let Some(name) = ledger.or(of_profile) {
        target.ledger = name.to_owned();
    }
    if target.scheme == Scheme::Postgres && target.password.is_none() {
        target.password = libpq::password(&target, &|name| environment.get(name));
    }
    Ok((target, from_profile))
}

fn option_file(environment: &Environment) -> Result<super::draft::Draft> {
    if let Some(draft) = libpq::read(&|name| environment.get(name))? {
        return Ok(draft);
    }
    let draft = match environment.get("HOME") {
        Some(home) => my_cnf::read(&PathBuf::from(home).join(".my.cnf"))?,
        None => None,
    };
    draft.ok_or_else(|| {
        usage(
            "nothing says where to connect",
            "give --url mysql://USER@HOST/DATABASE (or postgres://…), set OSC_URL or PGHOST, or write an \
             osc.toml or ~/.my.cnf",
        )
    })
}

/// What the command prints, without the line's end. It may ask on the terminal.
fn password_of(command: &str) -> Result<SecretString> {
    let help = "run it in a shell to see why";
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| usage(format!("password_command cannot be run: {error}"), help))?;
    if !output.status.success() {
        return Err(usage(format!("password_command failed: {}", output.status), help));
    }
    let text = String::from_utf8(output.stdout)
        .map_err(|_| usage("password_command printed something that is not UTF-8", help))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(usage("password_command printed nothing", help));
    }
    Ok(SecretString::from(password))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;
    use crate::config::target::Address;

    /// A home with an `osc.toml` in its configuration folder and a `.my.cnf`.
    fn home() -> TempDir {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/osc");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("osc.toml"),
            "[profiles.default]\nurl = 'mysql://me@from-file/db'\n\
             password_command = 'printf \"s3cret\\n\"'\n\
             alter = { threads = 7, replicas = ['mysql://replica'], throttle_query = 'SELECT 1' }\n\
             [profiles.prod]\nurl = 'mysql://me@from-profile/db'\n",
        )
        .unwrap();
        std::fs::write(home.path().join(".my.cnf"), "[client]\nhost=from-cnf\nuser=me\n").unwrap();
        home
    }

    fn environment(home: &Path, more: &[(&str, &str)]) -> Environment {
        let home = [("HOME", home.to_str().unwrap())];
        let pairs = home.iter().chain(more);
        Environment { variables: pairs.map(|(k, v)| ((*k).into(), (*v).into())).collect() }
    }

    fn host(connection: &Connection, environment: &Environment) -> String {
        match target(connection, environment).unwrap().address {
            Address::Tcp { host, .. } => host,
            Address::Socket(path) => path.display().to_string(),
        }
    }

    #[test]
    fn flags_win_over_environment_over_files() {
        let home = home();
        let all = [("OSC_URL", "mysql://me@from-osc"), ("DATABASE_URL", "mysql://me@from-db")];
        let url = Connection { url: Some("mysql://me@from-flag".into()), ..Default::default() };
        let prod = Connection { profile: Some("prod".into()), ..Default::default() };
        let none = Connection::default();
        assert_eq!(host(&url, &environment(home.path(), &all)), "from-flag");
        assert_eq!(host(&prod, &environment(home.path(), &all)), "from-profile");
        assert_eq!(host(&none, &environment(home.path(), &all)), "from-osc");
        assert_eq!(host(&none, &environment(home.path(), &all[1..])), "from-db");
        assert_eq!(host(&none, &environment(home.path(), &[("OSC_URL", "")])), "from-file");
        std::fs::remove_file(home.path().join(".config/osc/osc.toml")).unwrap();
        assert_eq!(host(&none, &environment(home.path(), &[])), "from-cnf");
        std::fs::remove_file(home.path().join(".my.cnf")).unwrap();
        let error = target(&none, &environment(home.path(), &[])).unwrap_err();
        assert!(error.to_string().contains("where to connect"));
    }

    #[test]
    fn passwords_come_from_the_url_the_command_or_the_environment() {
        let home = home();
        let password = |url: Option<&str>| {
            let connection = Connection { url: url.map(Into::into), ..Default::default() };
            let environment = environment(home.path(), &[("MYSQL_PWD", "env")]);
            let target = target(&connection, &environment).unwrap();
            target.password.unwrap().expose_secret().to_owned()
        };
        assert_eq!(password(None), "s3cret");
        assert_eq!(password(Some("mysql://me@h")), "env");
        assert_eq!(password(Some("mysql://me:own@h")), "own");
    }

    #[test]
    fn a_failing_password_command_is_reported() {
        assert!(password_of("exit 3").unwrap_err().to_string().contains("exit status: 3"));
        assert!(password_of("true").unwrap_err().to_string().contains("nothing"));
    }

    #[test]
    fn settings_of_a_profile_hold_for_its_own_server_only() {
        let home = home();
        let environment = environment(home.path(), &[]);
        let run = |url: Option<&str>| {
            let connection = Connection { url: url.map(Into::into), ..Default::default() };
            alter(&connection, Settings::default(), &environment).unwrap()
        };
        let (_, replicas, settings) = run(None);
        assert_eq!(settings.threads().get(), 7);
        let replica = replicas.first().unwrap();
        assert_eq!(replica.user, "me");
        assert_eq!(replica.password.as_ref().unwrap().expose_secret(), "s3cret");
        let (_, replicas, settings) = run(Some("mysql://me@elsewhere"));
        assert_eq!(settings.threads().get(), 4);
        assert!(replicas.is_empty() && settings.throttle_query.is_none());
        let file = home.path().join(".config/osc/osc.toml");
        std::fs::write(file, "[profiles.default.alter]\nthreads = 7\n").unwrap();
        let (_, _, settings) = run(Some("mysql://me@elsewhere"));
        assert_eq!(settings.threads().get(), 7, "a profile without a URL is for any server");
    }

    #[test]
    fn a_lag_limit_without_replicas_is_a_mistake() {
        let home = home();
        let connection = Connection { url: Some("mysql://me@h".into()), ..Default::default() };
        let mut settings = Settings::default();
        settings.max_lag = "1s".parse().ok();
        let environment = environment(home.path(), &[]);
        assert!(alter(&connection, settings, &environment).is_err());
    }
}
