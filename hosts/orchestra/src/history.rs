//! What an object has been, as a table; a version of it; and the way back to one.

use anyhow::Context as _;
use orchestra_core::api::history::{Change, History, Version};
use orchestra_core::api::{Service as _, Target, yaml};
use orchestra_core::meta::Scope;
use orchestra_core::objects;
use orchestra_http::Remote;
use serde_json::Value;

use crate::backup::connect;
use crate::cli::{self, Output};

pub(crate) async fn run(options: &cli::History) -> anyhow::Result<()> {
    let remote = connect(&options.access)?;
    let (client, object) = (remote.client(), target(&remote, options).await?);
    if let Some(revision) = options.restore {
        client.restore(object, revision).await?;
        println!("{} {} is again what it was at revision {revision}", options.kind, options.name);
    } else if let Some(revision) = options.revision {
        show(client.at(object, revision).await?, options.output)?;
    } else {
        print!("{}", table(&client.history(object).await?));
    }
    Ok(())
}

/// The object that is meant: of a built-in kind, by any of its names, or of one that the cluster knows.
async fn target(remote: &Remote, options: &cli::History) -> anyhow::Result<Target> {
    let kind = match objects::builtin().named(&options.kind) {
        Some(row) => row.info(),
        None => {
            let kinds = remote.kinds().await?;
            let word = options.kind.to_lowercase();
            let mut named = kinds.into_iter();
            let found = named.find(|kind| *kind.id.resource == *word || kind.kind.to_lowercase() == word);
            found.with_context(|| format!("the cluster has no kind {:?}", options.kind))?
        }
    };
    let namespace = (kind.scope == Scope::Namespaced).then_some(&*options.namespace);
    Ok(kind.target(namespace).named(&*options.name))
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

/// The versions, a line each, in columns.
fn table(history: &History) -> String {
    let mut rows = vec![["REVISION", "TIME", "WHO", "WHAT"].map(str::to_owned)];
    rows.extend(history.versions.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (revision, time, who) = (width(0), width(1), width(2));
    let line = |[a, b, c, d]: &[String; 4]| format!("{a:<revision$}   {b:<time$}   {c:<who$}   {d}\n");
    rows.iter().map(line).collect()
}

fn row(version: &Version) -> [String; 4] {
    let unknown = || "-".to_owned();
    let what = match version.change {
        Change::Created => "created".to_owned(),
        Change::Kept => "as it was before what is remembered".to_owned(),
        Change::Changed if version.fields.is_empty() => "nothing but who wrote it".to_owned(),
        Change::Changed => version.fields.join(", "),
        Change::Deleted => "deleted".to_owned(),
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
            {"revision": 1300, "time": null, "manager": null, "change": "Deleted"},
        ]});
        let expected = "\
REVISION   TIME                   WHO                     WHAT
7          2026-01-01T00:00:00Z   kubectl                 created
1234       2026-01-01T00:00:09Z   system:kube-scheduler   spec.replicas, +metadata.labels.a
1300       -                      -                       deleted
";
        assert_eq!(table(&serde_json::from_value(history).unwrap()), expected);
    }
}
