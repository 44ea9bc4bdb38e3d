//! Which certificates of a PostgreSQL server are taken, for each `sslmode` (libpq's manual, "SSL Support").

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use crate::support;
use crate::support::postgres::{Major, Postgres};

/// Runs openssl in `folder`.
fn openssl(folder: &Path, arguments: &str) {
    let output =
        Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments}: {output:?}");
}

/// The CA `name`.
fn authority(folder: &Path, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ),
    );
}

fn id_of_postgres() -> u32 {
    let output = Command::new("id").args(["-u", "postgres"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_taken_as_the_sslmode_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    authority(folder.path(), "ours");
    authority(folder.path(), "others");
    // For another host than the one that is connected to.
    std::fs::write(path("names"), "subjectAltName=DNS:db.example\n").unwrap();
    openssl(
        folder.path(),
        "req -newkey rsa:2048 -nodes -subj /CN=db.example -keyout server.key -out server.csr",
    );
    openssl(
        folder.path(),
        "x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    // The server reads its key as its own user, and no other user may.
    let user = Some(id_of_postgres());
    for name in ["", "server.key", "server.pem"] {
        chown(folder.path().join(name), user, None).unwrap();
    }
    let (certificate, key) = (path("server.pem"), path("server.key"));
    let settings = [("ssl", "on"), ("ssl_cert_file", &certificate), ("ssl_key_file", &key)];
    let server = Postgres::start_with(Major::SYSTEM, &settings);
    let url = server.url("postgres");
    let url = url.split('?').next().unwrap();
    for (mode, root, code) in [
        ("require", None, 0),
        ("verify-ca", Some("ours.pem"), 0),
        ("verify-ca", Some("others.pem"), 2),
        ("verify-full", Some("ours.pem"), 2),
        ("verify-full", Some("others.pem"), 2),
    ] {
        let root = root.map_or(String::new(), |name| format!("&sslrootcert={}", path(name)));
        let asked = format!("{url}?sslmode={mode}{root}");
        let output = support::osc().args(["status", "--url", &asked]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{asked}: {output:?}");
        if code == 2 {
            let printed = String::from_utf8_lossy(&output.stderr);
            assert!(printed.contains("certificate"), "{asked}: {printed}");
        }
    }
}
