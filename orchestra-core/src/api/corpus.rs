//! The kept corpora of the fuzz targets, as an ordinary test: where there is no cargo-fuzz, what it once found stays found.

#[path = "../../fuzz/src/checks/mod.rs"]
mod checks;

#[test]
fn every_input_of_the_corpora_keeps_the_rules() {
    let corpora = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, check) in checks::ALL {
        let folder = std::fs::read_dir(corpora.join(target)).expect("the corpus of a target");
        let inputs: Vec<_> = folder.map(|file| file.expect("a file").path()).collect();
        assert!(inputs.len() >= 8, "{target} has only {} inputs", inputs.len());
        for input in inputs {
            check(&std::fs::read(&input).expect("readable"));
        }
    }
}
