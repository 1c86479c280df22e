//! The corpus of the fuzz target, as an ordinary test: where there is no cargo-fuzz, what it once found stays found.

#[path = "../fuzz/checks/selector.rs"]
mod checks;

#[test]
fn every_text_of_the_corpus_keeps_the_rules() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/selector");
    let files: Vec<_> =
        std::fs::read_dir(corpus).expect("the corpus").map(|file| file.expect("a file").path()).collect();
    assert!(files.len() > 20, "only {} texts", files.len());
    for file in files {
        if let Ok(text) = String::from_utf8(std::fs::read(&file).expect("readable")) {
            checks::check(&text);
        }
    }
}
