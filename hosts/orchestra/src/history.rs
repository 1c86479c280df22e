//! What an object has been, as a table; a version of it; and the way back to one.

use anyhow::Context as _;
use orchestra_core::api::history::{Effect, History, Version};
use orchestra_core::api::{Service as _, Target, yaml};
use orchestra_core::meta::Scope;
use orchestra_core::objects;
use orchestra_http::Remote;
use serde_json::Value;

use crate::backup::connect;
use crate::cli::{self, Output};

pub(crate) async fn run(options: &cli::History) -> anyhow::Result<()> {
    let remote = connect(&options.access)?;
    let (kind, name) = meant(&options.object)?;
    let (client, object) = (remote.client(), target(&remote, kind, name, &options.namespace).await?);
    if let Some(revision) = options.restore {
        client.restore(object, revision).await?;
        println!("{} {} is again what it was at revision {revision}", kind, name);
    } else if let Some(revision) = options.revision {
        show(client.at(object, revision).await?, options.output)?;
    } else {
        print!("{}", table(&client.history(object).await?, options.all));
    }
    Ok(())
}

/// Kind and name, of one word or two.
fn meant(object: &[String]) -> anyhow::Result<(&str, &str)> {
    match object {
        [kind, name] => Some((&**kind, &**name)),
        [both] => both.split_once('/'),
        _ => None,
    }
    .filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
    .with_context(|| format!("{object:?} does not say which object; write deployment web, or deploy/web"))
}

/// The object that is meant: of a built-in kind, by any of its names, or of one that the cluster knows.
async fn target(remote: &Remote, kind: &str, name: &str, namespace: &str) -> anyhow::Result<Target> {
    let kind = match objects::builtin().named(kind) {
        Some(row) => row.info(),
        None => {
            let kinds = remote.kinds().await?;
            let word = kind.to_lowercase();
            let mut named = kinds.into_iter();
            let found = named.find(|kind| *kind.id.resource == *word || kind.kind.to_lowercase() == word);
            found.with_context(|| format!("the cluster has no kind {kind:?}"))?
        }
    };
    let namespace = (kind.scope == Scope::Namespaced).then_some(namespace);
    Ok(kind.target(namespace).named(name))
}

fn show(mut object: Value, output: Output) -> anyhow::Result<()> {
    // Left out as kubectl leaves it out: the table says who it was.
    object["metadata"].as_object_mut().map(|metadata| metadata.remove("managedFields"));
    match output {
        Output::Yaml => print!("{}", yaml::write(&object)?),
        Output::Json => println!("{object:#}"),
    }
    Ok(())
}

/// The versions, a line each, in columns; without `all`, those of the status alone are counted only.
fn table(history: &History, all: bool) -> String {
    let mut rows = vec![["REVISION", "TIME", "WHO", "WHAT"].map(str::to_owned)];
    let shown = history.versions.iter().filter(|version| all || !is_status_alone(version));
    rows.extend(shown.map(row));
    let left_out = history.versions.len() + 1 - rows.len();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (revision, time, who) = (width(0), width(1), width(2));
    let line = |[a, b, c, d]: &[String; 4]| format!("{a:<revision$}   {b:<time$}   {c:<who$}   {d}\n");
    let mut table: String = rows.iter().map(line).collect();
    if left_out > 0 {
        table.push_str(&format!("and {left_out} changes of its status alone, which --all shows\n"));
    }
    table
}

fn is_status_alone(version: &Version) -> bool {
    let of_status = |field: &String| field.trim_start_matches(['+', '-']).starts_with("status");
    version.change == Effect::Changed && !version.fields.is_empty() && version.fields.iter().all(of_status)
}

fn row(version: &Version) -> [String; 4] {
    let unknown = || "-".to_owned();
    let what = match version.change {
        Effect::Created => "created".to_owned(),
        Effect::Kept => "as it was before what is remembered".to_owned(),
        Effect::Changed if version.fields.is_empty() => "nothing but who wrote it".to_owned(),
        Effect::Changed => version.fields.join(", "),
        Effect::Deleted => "deleted".to_owned(),
    };
    let time =
        version.time.as_ref().map_or_else(unknown, |time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    [version.revision.to_string(), time, version.manager.clone().unwrap_or_else(unknown), what]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_version() {
        let history = serde_json::json!({"versions": [
            {"revision": 7, "time": "2026-01-01T00:00:00Z", "manager": "kubectl", "change": "Created"},
            {"revision": 1234, "time": "2026-01-01T00:00:09Z", "manager": "system:kube-scheduler", "change": "Changed",
             "fields": ["spec.replicas", "+metadata.labels.a"]},
            {"revision": 1250, "time": "2026-01-01T00:00:10Z", "manager": "system:kube-scheduler", "change": "Changed",
             "fields": ["status.replicas", "+status.conditions"]},
            {"revision": 1300, "time": null, "manager": null, "change": "Deleted"},
        ]});
        let expected = "\
REVISION   TIME                   WHO                     WHAT
7          2026-01-01T00:00:00Z   kubectl                 created
1234       2026-01-01T00:00:09Z   system:kube-scheduler   spec.replicas, +metadata.labels.a
1300       -                      -                       deleted
and 1 changes of its status alone, which --all shows
";
        let history = serde_json::from_value(history).unwrap();
        assert_eq!(table(&history, false), expected);
        let all = table(&history, true);
        assert!(all.contains("status.replicas, +status.conditions\n") && !all.contains("--all"), "{all}");
    }

    #[test]
    fn an_object_is_named_in_one_word_or_two() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(meant(&words(&["deploy/web"])).unwrap(), ("deploy", "web"));
        assert_eq!(meant(&words(&["deployment", "web"])).unwrap(), ("deployment", "web"));
        for wrong in [&["web"][..], &["/web"], &["deploy/"]] {
            assert!(meant(&words(wrong)).is_err(), "{wrong:?}");
        }
    }
}
