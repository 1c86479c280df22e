//! What happens to a cluster, written to a file; and such a file lived again in virtual time, with other nodes or another
//! scheduler.

use std::fs::File;
use std::io::{BufReader, BufWriter, IsTerminal as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use orchestra_core::api::yaml;
use orchestra_core::scheduler::Profile;
use orchestra_core::simulation::{Figures, Replay, Replayed, Trace, record};
use serde_json::{Value, json};

use crate::backup::connect;
use crate::cli::{Record, Scheduling, Simulate, Told};
use crate::progress::Progress;

/// Records until Ctrl-C, or for as long as is said.
pub(crate) async fn run(options: &Record) -> anyhow::Result<()> {
    let client = connect(&options.access)?.client();
    let file = File::create_new(&options.output)
        .with_context(|| format!("{} cannot be made", options.output.display()))?;
    let stop = async {
        let asked = tokio::signal::ctrl_c();
        match options.duration {
            Some(time) => drop(tokio::time::timeout(time, asked).await),
            None => drop(asked.await),
        }
    };
    let progress = Progress::new();
    progress.begin("Reading", "what there is");
    let mut shown = 0;
    // Each line is on its way to the disk when it is written: what is cut off loses no more than that.
    let written = record(&client, BufWriter::new(file), stop, |count| {
        if count != shown {
            progress.begin("Recording", &format!("{count} events; Ctrl-C ends it"));
            shown = count;
        }
    })
    .await;
    progress.close();
    let count = written.with_context(|| format!("{} cannot be written", options.output.display()))?;
    println!("{}: {count} events", options.output.display());
    println!("  orchestra simulate {}", options.output.display());
    Ok(())
}

/// Lives a trace again, and compares.
pub(crate) async fn simulate(options: &Simulate) -> anyhow::Result<()> {
    let trace = read(&options.trace)?;
    if trace.is_cut_off && std::io::stderr().is_terminal() {
        eprintln!("The last line of the trace was cut off, and is left out.");
    }
    let progress = Progress::new();
    progress.begin("Living", &format!("through {} events", trace.events.len()));
    let lived = tokio::task::spawn_blocking({
        let options = options.clone();
        move || lives(&options, &trace).map(|lives| (lives, trace))
    });
    let outcome = lived.await;
    progress.close();
    let (lives, trace) = outcome.context("the simulation ended by a bug of this program")??;
    let recorded = trace.figures();
    match options.output {
        Told::Text => print!("{}", text(&trace, &recorded, &lives)),
        Told::Json => println!("{}", serde_json::to_string_pretty(&json(&trace, &recorded, &lives))?),
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Trace> {
    let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    Trace::read(BufReader::new(file)).with_context(|| path.display().to_string())
}

/// The lives of a trace: as it is, and as it is asked for, if that is other.
fn lives(options: &Simulate, trace: &Trace) -> anyhow::Result<Vec<(&'static str, Replayed)>> {
    let mut lives = vec![("replayed", Replay::new().run(trace)?)];
    let scheduler = match options.scheduling {
        Scheduling::Spread => Profile::default(),
        Scheduling::Pack => Profile::packing(),
    };
    let mut other = Replay::new().scheduler(scheduler);
    if let Some(file) = &options.nodes {
        other = other.nodes(manifests(file, "nodes")?)?;
    }
    if let Some(file) = &options.autoscalers {
        other = other.autoscalers(manifests(file, "autoscalers")?)?;
    }
    if options.nodes.is_some() || options.autoscalers.is_some() || options.scheduling != Scheduling::Spread {
        lives.push(("otherwise", other.run(trace)?));
    }
    Ok(lives)
}

fn manifests(file: &Path, what: &str) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let documents = yaml::read(&text).with_context(|| format!("{} is no manifest", file.display()))?;
    let mut all = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) => all.extend(items.iter().cloned()),
            None => all.push(document),
        }
    }
    if all.is_empty() {
        bail!("{} has no {what}", file.display());
    }
    Ok(all)
}

fn text(trace: &Trace, recorded: &Figures, lives: &[(&str, Replayed)]) -> String {
    let length = Duration::from_millis(trace.length()).as_secs();
    let mut text = format!("{} events in {length} s from {}\n\n", trace.events.len(), trace.at);
    let mut columns = vec![("recorded", recorded)];
    columns.extend(lives.iter().map(|(name, lived)| (*name, &lived.figures)));
    text.push_str(&Figures::table(&columns));
    for (name, lived) in lives {
        if !lived.figures.pending.is_empty() {
            text.push_str(&format!("\nPending in the end, {name}:\n"));
            for (pod, why) in &lived.figures.pending {
                text.push_str(&format!("  {pod}: {why}\n"));
            }
        }
        if !lived.refused.is_empty() {
            text.push_str(&format!("\nNot done again, {name}:\n"));
            lived.refused.iter().for_each(|refused| text.push_str(&format!("  {refused}\n")));
        }
    }
    if !trace.unread.is_empty() {
        text.push_str(&format!(
            "\nNot in the trace, as it might not be read: {}.\n",
            trace.unread.join(", ")
        ));
    }
    text
}

fn json(trace: &Trace, recorded: &Figures, lives: &[(&str, Replayed)]) -> Value {
    let mut told = json!({
        "at": trace.at.to_string(), "events": trace.events.len(), "milliseconds": trace.length(), "unread": trace.unread,
        "recorded": recorded,
    });
    for (name, lived) in lives {
        told[*name] = json!(lived);
    }
    told
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_trace_is_compared_with_other_nodes() {
        let directory = tempfile::tempdir().unwrap();
        let trace = directory.path().join("trace");
        let node = |name: &str| json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}, "conditions": [{"type": "Ready", "status": "True"}]}});
        let mut lines = vec![json!({"trace": "orchestra", "version": 1, "at": "2026-01-01T00:00:00Z"})];
        lines.push(json!({"ms": 0, "kind": "nodes", "put": node("a")}));
        for number in 0..3 {
            let spec =
                json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]});
            let meta =
                json!({"namespace": "default", "name": format!("p{number}"), "uid": number.to_string()});
            lines.push(
                json!({"ms": 1000 * (number + 1), "kind": "pods", "put": {"metadata": meta, "spec": spec}}),
            );
        }
        let written: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&trace, written).unwrap();
        let nodes = directory.path().join("nodes.yaml");
        let large = "apiVersion: v1\nkind: Node\nmetadata: {name: large, annotations: {orchestra.dev/count: '2'}}\nstatus: {allocatable: {cpu: '4', memory: 8Gi, pods: '10'}}\n";
        std::fs::write(&nodes, large).unwrap();
        let words = ["orchestra", "simulate", trace.to_str().unwrap(), "--nodes", nodes.to_str().unwrap()];
        let Command::Simulate(options) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        let trace = read(&options.trace).unwrap();
        let lives = lives(&options, &trace).unwrap();
        let told = text(&trace, &trace.figures(), &lives);
        assert!(
            told.contains(
                "placed                          0                         2                         3\n"
            ),
            "{told}"
        );
        assert!(
            told.contains("Pending in the end, replayed:\n  default/p2: 0/1 nodes are available"),
            "{told}"
        );
        assert!(
            told.contains(
                "nodes, and those with pods      1, 0                      1, 1                      2, 2\n"
            ),
            "{told}"
        );
        assert_eq!(json(&trace, &trace.figures(), &lives)["otherwise"]["figures"]["pods_placed"], 3);
    }
}
