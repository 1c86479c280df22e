//! The third seed's command lines, typed as they stand there: this program by the names that the seed has for it.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Up, manifest_of_the_seeds, until};

/// A directory as the seed's reader had it: a checkout with `cluster/kubecfg.sh` and `bin/kubecfg`.
struct Checkout {
    folder: TempDir,
    up: Up,
}

impl Checkout {
    fn new(up: Up) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let there = |path: &str| folder.path().join(path);
        for program in ["cluster/kubecfg.sh", "bin/kubecfg"] {
            std::fs::create_dir_all(there(program).parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_orchestra"), there(program)).unwrap();
        }
        // The directory where a cluster is looked for by itself.
        std::fs::create_dir(there("data")).unwrap();
        std::os::unix::fs::symlink(up.directory.path(), there("data/orchestra")).unwrap();
        for (name, case) in [
            ("wordpress-replica-controller.json", "seed-3-wordpress-replica-controller.json"),
            ("apache.json", "seed-3-apache-node.json"),
        ] {
            std::fs::write(there(name), manifest_of_the_seeds(case)).unwrap();
        }
        Self { folder, up }
    }

    fn run(&self, line: &str) -> (bool, String, String) {
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(self.folder.path())
            .env("XDG_DATA_HOME", self.folder.path().join("data"))
            .env_remove("KUBERNETES_MASTER")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    fn ok(&self, line: &str) -> String {
        let (success, out, err) = self.run(line);
        assert!(success, "{line}:\n{out}{err}");
        out
    }

    fn until(&self, line: &str, done: impl Fn(&str) -> bool) -> String {
        until(line, || {
            let said = self.ok(line);
            if done(&said) { Ok(said) } else { Err(said) }
        })
    }

    fn server(&self) -> String {
        let kubeconfig: PathBuf = self.up.directory.path().join("kubeconfig");
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        let port = text.split("https://127.0.0.1:").nth(1).unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        format!("127.0.0.1:{port}")
    }
}

/// The words of a line of a table.
fn cells(table: &str, name: &str) -> Vec<String> {
    let row = table.lines().find(|line| line.starts_with(name));
    row.unwrap_or_else(|| panic!("{name} is not in\n{table}")).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn each_line_of_the_third_seed_can_be_typed() {
    let checkout = Checkout::new(Up::start(&["--runtime", "fake", "--nodes", "3"]));
    let minions = "Minion identifier\n----------\nfake-0\nfake-1\nfake-2\n";
    checkout.until("bin/kubecfg list minions", |said| said == minions);
    assert_eq!(checkout.ok("cluster/kubecfg.sh list minions"), minions);
    let none = checkout.ok("cluster/kubecfg.sh list /pods");
    assert_eq!(none.lines().count(), 2, "{none}");
    assert!(none.starts_with("ID                  Image(s)            Host "), "{none}");
    assert!(checkout.ok("cluster/kubecfg.sh list /services").contains("\nkubernetes "));

    // The seed's /root is not ours to write to; the name of what is in it is a variable, as the seed has it.
    let made = checkout.ok("bin/kubecfg -c wordpress-replica-controller.json create replicationControllers");
    let row = ["wordpressreplicacontroller", "jbfink/wordpress", "name=wordpressreplica", "1"];
    assert_eq!(cells(&made, row[0]), row);
    assert_eq!(cells(&checkout.ok("cluster/kubecfg.sh list /replicationControllers"), row[0]), row);
    let named = "replicationController=wordpressReplicaController; ";
    let resized = checkout.ok(&format!("{named} cluster/kubecfg.sh resize $replicationController 10"));
    assert_eq!(cells(&resized, row[0]).last().unwrap(), "10");
    // Each takes a port of its machine, so that there is one a machine.
    checkout.until("cluster/kubecfg.sh list /pods", |pods| {
        pods.lines().count() == 12
            && pods.matches("Running").count() == 3
            && pods.matches("<unassigned>").count() == 7
            && pods.matches("Waiting").count() == 7
    });
    let removed = checkout.ok(&format!("{named} cluster/kubecfg.sh rm $replicationController"));
    assert_eq!(removed, "Status\n----------\nSuccess\n");
    checkout.until("cluster/kubecfg.sh list /pods", |pods| pods.lines().count() == 2);

    let service = r#"{"id": "wordpress", "kind": "Service", "apiVersion": "v1beta1", "port": 80, "containerPort": 80,
        "selector": {"name": "wordpressreplica"}}"#;
    let made = checkout.ok(&format!("echo '{service}' | cluster/kubecfg.sh -c - create services"));
    assert_eq!(cells(&made, "wordpress")[1..3], ["<none>", "name=wordpressreplica"]);
    checkout.ok("ID=wordpress; cluster/kubecfg.sh delete services/$ID");
    assert!(!checkout.ok("cluster/kubecfg.sh list /services").contains("wordpress"));

    checkout.ok("cluster/kubecfg.sh -p 8080:80 run dockerfile/nginx 1 myNginx");
    let pods = checkout.until("cluster/kubecfg.sh list /pods", |pods| pods.contains("Running"));
    let row = cells(&pods, "mynginx-");
    assert_eq!(row[1], "dockerfile/nginx");
    assert!(row[2].starts_with("fake-"), "{pods}");
    assert_eq!(row[3..], ["replicationController=myNginx,simpleService=myNginx", "Running"]);
}

#[test]
fn so_can_what_else_kubecfg_did() {
    let checkout = Checkout::new(Up::start(&["--runtime", "fake"]));
    let (success, out, warned) = checkout.run("bin/kubecfg -c apache.json create pods");
    assert!(success, "{out}{warned}");
    assert!(warned.contains("id: \"Apache-Node\" is no name today; it is \"apache-node\""), "{warned}");
    checkout.until("bin/kubecfg -l name=web-01 list pods", |pods| pods.contains("Running"));
    assert_eq!(
        cells(&checkout.ok("bin/kubecfg get pods/Apache-Node"), "apache-node")[1],
        "dockerfile/apache"
    );
    assert_eq!(checkout.ok("bin/kubecfg delete pods/Apache-Node"), "Status\n----------\nSuccess\n");

    checkout.ok("bin/kubecfg -s 8000 run web:1 2 web");
    assert_eq!(cells(&checkout.ok("bin/kubecfg get services/web"), "web").last().unwrap(), "8000");
    checkout.until("bin/kubecfg list pods", |pods| pods.matches("Running").count() == 2);
    checkout.ok("bin/kubecfg -u 0s -image web:2 rollingupdate web");
    checkout.until("bin/kubecfg list pods", |pods| {
        pods.matches("web:2").count() == 2 && !pods.contains("web:1") && pods.matches("Running").count() == 2
    });
    assert_eq!(cells(&checkout.ok("bin/kubecfg stop web"), "web").last().unwrap(), "0");
    checkout.until("bin/kubecfg list pods", |pods| pods.lines().count() == 2);

    let server = checkout.server();
    for line in [
        format!("bin/kubecfg -h {server} list minions"),
        format!("KUBERNETES_MASTER=https://{server} bin/kubecfg list minions"),
        "bin/kubecfg -json list minions | grep '\"kind\": \"Node\"'".to_owned(),
        "bin/kubecfg -yaml get minions/fake-0 | grep 'kind: Node'".to_owned(),
        "bin/kubecfg -c apache.json -yaml print pods | grep 'name: apache-node'".to_owned(),
        "bin/kubecfg | grep Usage".to_owned(),
    ] {
        checkout.ok(&line);
    }
    for wrong in [
        "bin/kubecfg list elephants",
        "bin/kubecfg get pods/nobody",
        "bin/kubecfg -c apache.json create services",
        "bin/kubecfg -h http://localhost:8080 list pods",
        "bin/kubecfg -c nowhere.json create pods",
    ] {
        let (success, out, err) = checkout.run(wrong);
        assert!(!success && err.contains("error: "), "{wrong}:\n{out}{err}");
    }
}

#[test]
fn old_manifests_are_printed_as_they_are_today() {
    let folder = tempfile::tempdir().unwrap();
    let convert = |arguments: &[&str], input: &str| {
        let file = folder.path().join("old.yaml");
        std::fs::write(&file, input).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra"));
        command.arg("convert").args(arguments);
        if arguments.contains(&"-") {
            command.stdin(std::fs::File::open(&file).unwrap());
        } else {
            command.arg(&file);
        }
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let controller = manifest_of_the_seeds("seed-3-wordpress-replica-controller.json");
    let (success, out, err) = convert(&[], &controller);
    assert!(success && out.contains("apiVersion: v1\nkind: ReplicationController\n"), "{out}{err}");
    assert!(err.contains("warning: ") && err.contains("id: \"wordpressReplicaController\""), "{err}");
    let (success, out, err) = convert(&["-o", "json", "-"], &manifest_of_the_seeds("third.yaml"));
    assert!(success, "{err}");
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    for wrong in ["kind: Pod\napiVersion: v1beta1\nid: a\nsurprise: 1\n", "a: [", "---\n---\n"] {
        let (success, out, err) = convert(&[], wrong);
        assert!(!success && out.is_empty() && err.contains("error: "), "{out}{err}");
    }
    let (_, _, err) = convert(&[], "kind: Pod\napiVersion: v1beta1\nid: a\nsurprise: 1\n");
    assert!(err.contains(": surprise: no such field"), "{err}");
}
