use std::fs;
use std::time::Instant;

use tempfile::TempDir;

use super::*;

/// A directory of hooks.
pub(in super::super) struct Folder(TempDir);

impl Folder {
    pub(in super::super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(in super::super) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a shell script. Another program puts it there: while this one has it open for writing, a hook
    /// that is started at the same moment would keep it open, and it could not be run.
    pub(in super::super) fn hook(&self, name: &str, script: &str) {
        let source = self.path("source");
        fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mut install = std::process::Command::new("install");
        let installed = install.args(["-m", "755", &source, &self.path(name)]).status().unwrap();
        assert!(installed.success());
    }

    pub(in super::super) fn open(&self) -> Hooks {
        Hooks::open(self.0.path()).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Whether the process whose number is in this file lives, after a moment to end.
pub(in super::super) async fn alive(folder: &Folder, file: &str) -> bool {
    let id = folder.read(file).trim().to_owned();
    for _ in 0..50 {
        let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // A zombie has ended; nobody has waited for it yet.
        if state.is_empty() || state.contains(") Z ") {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

async fn run(folder: &Folder, limit: Duration) -> Ended {
    let hooks = folder.open().within(limit);
    hooks.run("on-hold", &Notice::example(1)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_hook_has_the_facts_and_no_secret() {
    let folder = Folder::new();
    let (facts, variables) = (folder.path("facts"), folder.path("variables"));
    folder.hook("on-hold", &format!("cat > {facts}; env > {variables}; echo done"));
    let ended = run(&folder, LIMIT).await;
    assert!(ended.status.unwrap().success());
    assert_eq!(ended.says.as_deref(), Some("done"));
    let facts: serde_json::Value = serde_json::from_str(&folder.read("facts")).unwrap();
    assert_eq!((&facts["event"], &facts["table"]), (&"hold".into(), &"shop.a'b\n<b>c".into()));
    let variables = folder.read("variables");
    assert!(variables.contains("OSC_TABLE=shop.a'b\n<b>c\n"), "{variables}");
    assert!(variables.contains("OSC_EVENT=hold") && variables.contains("PATH="));
    // Cargo's own variables stand for all that are not known.
    assert!(!variables.contains("CARGO"), "{variables}");
}

#[tokio::test]
async fn a_hook_that_hangs_is_ended_with_its_children() {
    let folder = Folder::new();
    let child = folder.path("child");
    folder.hook("on-hold", &format!("sleep 60 & echo $! > {child}; echo waiting; wait"));
    let started = Instant::now();
    let ended = run(&folder, Duration::from_secs(1)).await;
    assert!(ended.status.is_none() && started.elapsed() < Duration::from_secs(10));
    assert_eq!(ended.words(Duration::from_secs(1)), "ended after 1 s: waiting");
    assert!(!alive(&folder, "child").await);
}

#[tokio::test]
async fn a_child_that_stays_ends_with_its_hook() {
    let folder = Folder::new();
    let child = folder.path("child");
    folder.hook("on-hold", &format!("sleep 60 & echo $! > {child}; exit 3"));
    let started = Instant::now();
    let ended = run(&folder, LIMIT).await;
    assert_eq!(ended.status.unwrap().code(), Some(3));
    assert!(started.elapsed() < Duration::from_secs(10), "its output was waited for");
    assert!(!alive(&folder, "child").await);
}

#[tokio::test]
async fn a_hook_that_prints_for_ever_or_reads_nothing_is_no_harm() {
    let folder = Folder::new();
    folder.hook("on-hold", "exec <&-; yes | head -c 5000000; exit 0");
    let ended = run(&folder, LIMIT).await;
    assert!(ended.status.unwrap().success());
    assert_eq!(ended.says.as_deref(), Some("y"));
}

#[tokio::test]
async fn what_a_hook_prints_is_no_command_to_a_terminal() {
    let folder = Folder::new();
    folder.hook("on-hold", r"printf 'a\033[2Jb\n'");
    assert_eq!(run(&folder, LIMIT).await.says.as_deref(), Some("a\u{fffd}[2Jb"));
}

#[tokio::test]
async fn there_need_be_no_hook() {
    let hooks = Folder::new();
    assert!(hooks.open().run("on-done", &Notice::example(1)).await.unwrap().is_none());
}

#[test]
fn a_hook_that_would_never_be_run_is_refused_at_the_start() {
    let folder = Folder::new();
    let refused = || {
        let error = Hooks::open(folder.0.path()).unwrap_err();
        format!("{error} {}", error.help().unwrap_or_default())
    };
    folder.hook("on-finished", "true");
    assert!(refused().contains("on-finished is no event's hook") && refused().contains("perhaps"));
    fs::remove_file(folder.path("on-finished")).unwrap();
    for name in ["on-done.sample", "README", "lib.sh"] {
        fs::write(folder.path(name), "").unwrap();
    }
    folder.hook("on-done", "true");
    assert!(Hooks::open(folder.0.path()).is_ok());
    fs::set_permissions(folder.path("on-done"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused().contains("chmod +x"));
    fs::set_permissions(folder.path("on-done"), fs::Permissions::from_mode(0o757)).unwrap();
    assert!(refused().contains("by everybody"));
    fs::remove_file(folder.path("on-done")).unwrap();
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused().contains("by everybody"));
    assert!(Hooks::open(Path::new("/nowhere")).is_err());
}
