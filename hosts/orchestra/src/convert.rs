//! `orchestra convert`: manifests of old versions, printed as a cluster of today takes them.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use orchestra_core::api::yaml;
use orchestra_core::legacy;
use serde_json::Value;

use crate::cli::{self, Output};

pub(crate) fn run(options: &cli::Convert) -> anyhow::Result<()> {
    let named = options.file.display();
    let documents = documents(&options.file)?;
    let (mut objects, mut refused) = (Vec::new(), false);
    let several = documents.len() > 1;
    for (index, document) in documents.into_iter().enumerate() {
        let at = if several { format!("{named}, document {}", index + 1) } else { named.to_string() };
        match legacy::convert(document) {
            Ok(converted) => {
                converted.notes.iter().for_each(|note| eprintln!("warning: {at}: {note}"));
                objects.push(converted.object);
            }
            Err(wrong) => {
                wrong.wrong.iter().for_each(|note| eprintln!("error: {at}: {note}"));
                refused = true;
            }
        }
    }
    if refused {
        // Half of what was asked for would be taken for the whole.
        bail!("not all of {named} can be said today, and nothing is printed");
    }
    print!("{}", text(&objects, options.output)?);
    Ok(())
}

/// The documents of a file, or of the standard input.
pub(crate) fn documents(file: &Path) -> anyhow::Result<Vec<Value>> {
    let mut text = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut text).context("the standard input cannot be read")?;
    } else {
        text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    }
    let documents = yaml::read(&text).with_context(|| format!("{} is no manifest", file.display()))?;
    let documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
    if documents.is_empty() {
        bail!("there is no manifest in {}", file.display());
    }
    Ok(documents)
}

/// Documents as one text. JSON has no documents, so several become a list.
fn text(objects: &[Value], output: Output) -> anyhow::Result<String> {
    Ok(match (output, objects) {
        (Output::Yaml, objects) => {
            let documents: Result<Vec<String>, _> = objects.iter().map(yaml::write).collect();
            documents?.join("---\n")
        }
        (Output::Json, [one]) => format!("{one:#}\n"),
        (Output::Json, several) => {
            format!("{:#}\n", serde_json::json!({"apiVersion": "v1", "kind": "List", "items": several}))
        }
    })
}
