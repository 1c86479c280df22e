//! Answers as `kubecfg` printed them.

use serde_json::{Map, Value};

use super::words::Kind;

/// As wide as a column is at least, and what stands between two of them at least.
const NARROWEST: usize = 20;
const BETWEEN: usize = 3;

/// Objects of a kind, a line each under what the columns are.
pub(crate) fn table<'v>(kind: Kind, objects: impl IntoIterator<Item = &'v Value>) -> String {
    let columns: &[&str] = match kind {
        Kind::Minions => &["Minion identifier"],
        Kind::Pods => &["ID", "Image(s)", "Host", "Labels", "Status"],
        Kind::Services => &["ID", "Labels", "Selector", "IP", "Port"],
        Kind::ReplicationControllers => &["ID", "Image(s)", "Selector", "Replicas"],
    };
    let rows = objects.into_iter().map(|object| row(kind, object)).collect();
    aligned(columns, rows)
}

/// What was answered to a deletion.
pub(crate) fn success() -> String {
    aligned(&["Status"], vec![vec!["Success".to_owned()]])
}

fn row(kind: Kind, object: &Value) -> Vec<String> {
    let name = text(&object["metadata"]["name"]);
    let (spec, status) = (&object["spec"], &object["status"]);
    match kind {
        Kind::Minions => vec![name],
        Kind::Pods => {
            let host = match (text(&spec["nodeName"]), text(&status["hostIP"])) {
                (host, ip) if host.is_empty() && ip.is_empty() => "<unassigned>".to_owned(),
                (host, ip) => format!("{host}/{ip}"),
            };
            let labels = labels(&object["metadata"]["labels"]);
            vec![name, images(spec), host, labels, state(&status["phase"]).to_owned()]
        }
        Kind::Services => {
            let port = &spec["ports"][0]["port"];
            let (labels, selector) = (labels(&object["metadata"]["labels"]), labels(&spec["selector"]));
            vec![name, labels, selector, text(&spec["clusterIP"]), text(port)]
        }
        Kind::ReplicationControllers => {
            let images = images(&spec["template"]["spec"]);
            vec![name, images, labels(&spec["selector"]), text(&spec["replicas"])]
        }
    }
}

/// What the phases of today were called.
fn state(phase: &Value) -> &'static str {
    match phase.as_str() {
        Some("Running") => "Running",
        Some("Succeeded") => "Succeeded",
        Some("Failed") => "Terminated",
        Some("Unknown") => "Unknown",
        _ => "Waiting",
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn images(spec: &Value) -> String {
    let containers = spec["containers"].as_array().into_iter().flatten();
    containers.map(|container| text(&container["image"])).collect::<Vec<_>>().join(",")
}

fn labels(labels: &Value) -> String {
    let labels = labels.as_object().filter(|labels| !labels.is_empty());
    let joined = |labels: &Map<String, Value>| {
        labels.iter().map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(",")
    };
    labels.map_or_else(|| "<none>".to_owned(), joined)
}

fn aligned(columns: &[&str], rows: Vec<Vec<String>>) -> String {
    let head = columns.iter().map(ToString::to_string).collect();
    let rule = columns.iter().map(|_| "-".repeat(10)).collect();
    let lines: Vec<Vec<String>> = [head, rule].into_iter().chain(rows).collect();
    let width = |column: usize| {
        let widest = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
        NARROWEST.max(widest.unwrap_or(0) + BETWEEN)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let mut line: String = cells
            .iter()
            .zip(&widths)
            .take(columns.len() - 1)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line.push_str(cells.last().map_or("", |last| last));
        line.push('\n');
        line
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As the wiki that the third seed is shows it, but for the host, which its page swallowed.
    #[test]
    fn pods_are_listed_as_they_were() {
        let pod = json!({
            "metadata": {
                "name": "8db4d374-4e3d-11e4-b405-0cc47a089dd2",
                "labels": {"replicationController": "myNginx", "simpleService": "myNginx"},
            },
            "spec": {"containers": [{"image": "dockerfile/nginx"}]},
            "status": {"phase": "Pending"},
        });
        let expected = "\
ID                                     Image(s)            Host                Labels                                                Status
----------                             ----------          ----------          ----------                                            ----------
8db4d374-4e3d-11e4-b405-0cc47a089dd2   dockerfile/nginx    <unassigned>        replicationController=myNginx,simpleService=myNginx   Waiting
";
        assert_eq!(table(Kind::Pods, [&pod]), expected);
    }

    #[test]
    fn the_other_kinds_too() {
        let node = json!({"metadata": {"name": "192.168.121.9"}});
        assert_eq!(table(Kind::Minions, [&node]), "Minion identifier\n----------\n192.168.121.9\n");
        let controller = json!({"metadata": {"name": "a"}, "spec": {
            "replicas": 2, "selector": {"name": "a"},
            "template": {"spec": {"containers": [{"image": "x"}, {"image": "y"}]}},
        }});
        let expected = "\
ID                  Image(s)            Selector            Replicas
----------          ----------          ----------          ----------
a                   x,y                 name=a              2
";
        assert_eq!(table(Kind::ReplicationControllers, [&controller]), expected);
        let service = json!({"metadata": {"name": "a"}, "spec": {
            "selector": {"name": "a"}, "clusterIP": "10.0.0.2", "ports": [{"port": 80}],
        }});
        let expected = "\
ID                  Labels              Selector            IP                  Port
----------          ----------          ----------          ----------          ----------
a                   <none>              name=a              10.0.0.2            80
";
        assert_eq!(table(Kind::Services, [&service]), expected);
        assert_eq!(success(), "Status\n----------\nSuccess\n");
    }
}
