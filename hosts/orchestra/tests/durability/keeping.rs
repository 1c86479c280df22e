//! `orchestra history`, `backup` and `restore` as a person types them.

use k8s_openapi::api::core::v1::ConfigMap;
use orchestra_core::api::{Api, Patch};
use serde_json::json;

use crate::{Up, orchestra};

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_shown_and_brought_back() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(directory.path()).await;
    let data_dir = ("--data-dir", directory.path().to_owned());
    let maps: Api<ConfigMap> = up.remote.client().api("kube-public");
    let made = json!({"metadata": {"name": "colours"}, "data": {"sky": "blue"}});
    let made = maps.create(&serde_json::from_value(made).unwrap()).await.unwrap();
    maps.patch("colours", Patch::Merge(json!({"data": {"sky": "grey", "sea": "green"}}))).await.unwrap();

    let ask = ["history", "cm", "colours", "-n", "kube-public"];
    let (table, content) = orchestra(&ask, std::slice::from_ref(&data_dir)).await;
    assert!(content, "{table}");
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("REVISION "), "{table}");
    assert!(lines[1].contains("kubernetes-admin") && lines[1].ends_with("created"), "{table}");
    assert!(
        lines[2].ends_with("data.sky, +data.sea") || lines[2].ends_with("+data.sea, data.sky"),
        "{table}"
    );

    let revision = made.metadata.resource_version.unwrap();
    let show = [&ask[..], &["--revision", &revision, "-o", "yaml"]].concat();
    let (text, content) = orchestra(&show, std::slice::from_ref(&data_dir)).await;
    assert!(content && text.contains("sky: blue") && !text.contains("sea"), "{text}");
    let back = [&ask[..], &["--restore", &revision]].concat();
    let kubeconfig = ("--kubeconfig", directory.path().join("kubeconfig"));
    let (text, content) = orchestra(&back, &[kubeconfig]).await;
    assert!(content, "{text}");
    let now = maps.get("colours").await.unwrap().data.unwrap();
    assert_eq!((now.len(), now["sky"].as_str()), (1, "blue"));

    let (text, content) = orchestra(&["history", "cm", "nothing"], std::slice::from_ref(&data_dir)).await;
    assert!(!content && text.contains("configmaps \"nothing\" not found"), "{text}");
    let (text, content) = orchestra(&["history", "nonsense", "nothing"], &[data_dir]).await;
    assert!(!content && text.contains("no kind \"nonsense\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_cluster_is_backed_up_and_lives_again_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    let file = home.path().join("backup");
    let path = file.to_str().unwrap();
    let up = Up::start(&first).await;
    let maps: Api<ConfigMap> = up.remote.client().api("kube-public");
    for number in 0..250 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"number": number.to_string()}});
        maps.create(&serde_json::from_value(map).unwrap()).await.unwrap();
    }
    let (text, content) = orchestra(&["backup", path], &[("--data-dir", first.clone())]).await;
    assert!(content, "{text}");
    maps.delete("m0").await.unwrap();
    let (text, content) = orchestra(&["restore", path], &[("--data-dir", first.clone())]).await;
    assert!(!content && text.contains("in use"), "a running cluster is not written over: {text}");
    up.kill().await;
    let (text, content) = orchestra(&["restore", path], &[("--data-dir", first)]).await;
    assert!(!content && text.contains("not empty"), "nor is one that is stopped: {text}");

    let (text, content) = orchestra(&["restore", path], &[("--data-dir", second.clone())]).await;
    assert!(content, "{text}");
    let up = Up::start(&second).await;
    let maps: Api<ConfigMap> = up.remote.client().api("kube-public");
    let restored = maps.list().await.unwrap();
    // Beside those of the cluster's own, such as the authority's certificate.
    assert_eq!(
        restored
            .iter()
            .filter(|map| map.data.as_ref().is_some_and(|data| data.contains_key("number")))
            .count(),
        250
    );
    assert_eq!(maps.get("m0").await.unwrap().data.unwrap()["number"], "0");
}
