//! What is wrong in a cluster, and why; all is worked out here, of what the API shows to whoever asks.

use std::fmt::Write as _;

use anyhow::Context as _;
use futures::future::join_all;
use orchestra_core::api::{Client, ListOptions, Operation, Reply, Status, Target};
use orchestra_core::explain::{About, Facts, Severity, Step, Story, explain, sources, wrong};
use orchestra_core::meta::ObjectName;
use orchestra_core::objects;
use orchestra_core::what_if::{Remedy, remedy};
use serde_json::json;

use crate::backup::connect;
use crate::cli::{self, Told};
use crate::placing::placing;
use crate::progress::Progress;

pub(crate) async fn run(options: &cli::Explain) -> anyhow::Result<()> {
    let client = connect(&options.access)?.client();
    let namespace = if options.all_namespaces { "" } else { &*options.namespace };
    if options.object.is_empty() {
        let (facts, unread) = gather(&client, namespace).await?;
        let stories = wrong(&facts);
        match options.output {
            Told::Json => println!("{:#}", json!({"items": stories, "unread": unread})),
            Told::Text => print!("{}", all(&stories, &unread)),
        }
        return Ok(());
    }
    let about = meant(&options.object, namespace)?;
    let (facts, unread) = gather(&client, &about.namespace).await?;
    anyhow::ensure!(facts.has(&about), "there is no {about}{}", hint(&about, &unread));
    let story = explain(&facts, &about);
    let helps = match &story {
        Some(_) if options.tried => Some(tried(options, &about).await?),
        _ => None,
    };
    if options.output == Told::Json {
        let mut told = json!({"items": story.iter().collect::<Vec<_>>(), "unread": unread});
        if let Some(helps) = &helps {
            told["helps"] = json!(helps);
        }
        println!("{told:#}");
        return Ok(());
    }
    match &story {
        Some(story) => print!("{}", one(story)),
        None => println!("Nothing is the matter with {about}."),
    }
    match helps {
        Some(Some(helps)) => println!("\nTried in a copy: {helps}."),
        Some(None) => println!("\nNo small change that was tried in a copy helps."),
        None => {}
    }
    if about.resource == "pods" {
        let name = ObjectName::namespaced(&*about.namespace, &*about.name);
        // Who may not see nodes has been told what the scheduler said.
        if let Ok(Some(told)) = placing(&client, &name, options.scheduler.configuration()?.as_ref()).await {
            print!("\n{told}");
        }
    }
    Ok(())
}

/// The smallest change that helps, of those that were tried in a copy of the cluster here.
async fn tried(options: &cli::Explain, about: &About) -> anyhow::Result<Option<Remedy>> {
    let progress = Progress::new();
    progress.begin("Reading", "what the cluster holds");
    let fork = crate::what_if::fork(&options.access, &options.scheduler).await?;
    progress.begin("Trying", "what might help in copies, in a time of their own");
    let found = remedy(fork, about.clone()).await;
    progress.close();
    Ok(found?)
}

fn hint(about: &About, unread: &[&str]) -> String {
    match (unread.contains(&&*about.resource), &*about.namespace) {
        (true, _) => " that you may see".to_owned(),
        (_, "") => String::new(),
        (_, namespace) => format!(" in the namespace {namespace}"),
    }
}

/// The object that is meant, of a kind that is looked at.
fn meant(object: &[String], namespace: &str) -> anyhow::Result<About> {
    let (kind, name) = match object {
        [kind, name] => Some((&**kind, &**name)),
        [both] => both.split_once('/').or(Some(("pod", both))),
        _ => None,
    }
    .filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
    .with_context(|| format!("{object:?} does not say which object; write pod web-0, or deploy/web"))?;
    let row = objects::builtin();
    let row = row.named(kind).with_context(|| format!("there is no kind {kind:?}"))?;
    let (group, resource) = (&*row.id.group, &*row.id.resource);
    let source = sources().find(|source| source.group == group && source.resource == resource);
    let source =
        source.with_context(|| format!("nothing is known of what can be the matter with {resource}"))?;
    let namespace = if source.is_namespaced { namespace } else { "" };
    Ok(About::new(group, resource, namespace, name))
}

/// What who asks may see, and which kinds they may not.
async fn gather(client: &Client, namespace: &str) -> anyhow::Result<(Facts, Vec<&'static str>)> {
    let asked = sources().map(|source| async move {
        let namespace = source.is_namespaced.then_some(namespace);
        let target = Target::collection((source.group, source.version, source.resource), namespace);
        (source.resource, client.call(target, Operation::List(ListOptions::default())).await)
    });
    let mut facts = Facts::new(client.service().clock().now());
    let (mut unread, mut refused): (Vec<&str>, Option<Status>) = (Vec::new(), None);
    for (resource, answer) in join_all(asked).await {
        match answer {
            Ok(answer) => {
                let Reply::List(list) = answer.reply else { continue };
                for entry in &list.objects {
                    facts.add_entry(resource, entry)?;
                }
            }
            Err(status) => {
                unread.push(resource);
                refused = Some(status);
            }
        }
    }
    match refused {
        Some(status) if unread.len() == sources().len() => Err(status.into()),
        _ => Ok((facts, unread)),
    }
}

/// All that is wrong, the worst first.
fn all(stories: &[Story], unread: &[&str]) -> String {
    let mut text = String::new();
    if stories.is_empty() {
        text.push_str("Nothing is wrong.\n");
    }
    for (index, story) in stories.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&one(story));
    }
    if !unread.is_empty() {
        let _ = writeln!(text, "\nNot looked at, as you may not see them: {}.", unread.join(", "));
    }
    text
}

/// One story, step by step.
pub(crate) fn one(story: &Story) -> String {
    let mark = match story.severity {
        Severity::Critical => "!!",
        Severity::Serious => "!",
        _ => "-",
    };
    let place = match &*story.about.namespace {
        "" => String::new(),
        namespace => format!("  ({namespace})"),
    };
    let mut text = format!("{mark} {}{place}\n", story.summary);
    for step in &story.steps {
        told(&mut text, step);
    }
    if !story.affects.is_empty() {
        let all: Vec<String> = story.affects.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "    also suffers: {}", all.join(", "));
    }
    text
}

fn told(text: &mut String, step: &Step) {
    let _ = writeln!(text, "    {} {}", step.about, step.says);
    for evidence in &step.evidence {
        let says = evidence.says.lines().collect::<Vec<_>>().join("\n          ");
        let _ = writeln!(text, "        {}: {says}", evidence.from);
    }
    for advice in &step.advice {
        let _ = writeln!(text, "      > {advice}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_as_kubectl_takes_it() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (named, kind, namespace) in [
            (&["pod", "web"][..], "pods", "shop"),
            (&["po/web"], "pods", "shop"),
            (&["web"], "pods", "shop"),
            (&["deploy/web"], "deployments", "shop"),
            (&["svc", "web"], "services", "shop"),
            (&["no/web"], "nodes", ""),
        ] {
            let about = meant(&words(named), "shop").unwrap();
            assert_eq!(
                (&*about.resource, &*about.namespace, &*about.name),
                (kind, namespace, "web"),
                "{named:?}"
            );
        }
        for wrong in [&["pod/"][..], &["/web"], &["thing/web"], &["secret/web"]] {
            assert!(meant(&words(wrong), "shop").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_step_by_step() {
        let mut facts = Facts::new("2026-01-01T01:00:00Z".parse().unwrap());
        let node = json!({
            "metadata": {"name": "a"},
            "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "no network"}]},
        });
        facts.add("nodes", node).unwrap();
        let expected = "\
!! Node a is not ready.
    Node a is not ready
        status.conditions[Ready]: KubeletNotReady: no network
      > the message says what its agent waits for

Not looked at, as you may not see them: events.
";
        assert_eq!(all(&wrong(&facts), &["events"]), expected);
        assert_eq!(all(&[], &[]), "Nothing is wrong.\n");
    }
}
