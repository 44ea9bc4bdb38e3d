//! Each file of `fuzz/corpus` goes through its target, so that what fuzzing found stays mended.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a crate of its own too")]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One test, since memory is measured: tests beside it would count.
#[test]
fn every_input_of_the_corpus_keeps_the_promises_of_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut folders: BTreeSet<String> = fs::read_dir(&corpus)
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    for target in &fuzz::TARGETS {
        assert!(folders.remove(target.name), "{} has no corpus", target.name);
        let mut tried = 0;
        for file in fs::read_dir(corpus.join(target.name)).unwrap() {
            let path = file.unwrap().path();
            eprintln!("{}", path.display());
            fuzz::run(target.name, &fs::read(&path).unwrap());
            tried += 1;
        }
        assert!(tried > 0, "{} has an empty corpus", target.name);
    }
    assert!(folders.is_empty(), "no target reads {folders:?}");
}
