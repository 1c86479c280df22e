//! What a person does, in a real browser. One cluster and one browser for all of it, as starting them is what takes long.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use serde_json::{Value, json};

use crate::devtools::{Browser, is_there};
use crate::more;
use crate::shop;
use crate::support::Served;

/// One thing that a person does.
pub struct Walk<'s> {
    pub shop: &'s Served,
    pub browser: Browser,
    pub base: String,
}

impl Walk<'_> {
    pub async fn at(&mut self, page: &str) {
        let url = format!("{}{page}", self.base);
        self.browser.goto(&url).await;
    }

    pub async fn object(&self, path: &str) -> Value {
        self.shop.get(path, &[]).await.json()
    }
}

/// Does one thing that a person does; that it failed is told in the end, when all others were tried too.
macro_rules! flow {
    ($failed:ident, $walk:ident, $flow:path) => {
        if AssertUnwindSafe($flow(&mut $walk)).catch_unwind().await.is_err() {
            $failed.push(stringify!($flow));
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_finds_their_way() {
    if !is_there() {
        return;
    }
    let shop = shop::open().await;
    let url = shop.console().await;
    let base = url.split_once("?key").unwrap().0.to_owned();
    let mut walk = Walk { shop: &shop, browser: Browser::start().await, base };
    walk.browser.goto(&url).await;
    let mut failed: Vec<&str> = Vec::new();
    flow!(failed, walk, overview);
    flow!(failed, walk, topology);
    flow!(failed, walk, tables);
    flow!(failed, walk, keys);
    flow!(failed, walk, palette);
    flow!(failed, walk, scaling);
    flow!(failed, walk, editing);
    flow!(failed, walk, a_wrong_edit);
    flow!(failed, walk, history);
    flow!(failed, walk, restarting);
    flow!(failed, walk, rolling_back);
    flow!(failed, walk, logs);
    flow!(failed, walk, more::following_a_log);
    flow!(failed, walk, more::a_terminal);
    flow!(failed, walk, more::a_port);
    flow!(failed, walk, more::what_if_a_node_is_lost);
    flow!(failed, walk, more::what_if_it_is_scaled);
    flow!(failed, walk, more::what_if_it_is_edited);
    flow!(failed, walk, more::what_if_it_is_deleted);
    flow!(failed, walk, more::what_would_help);
    flow!(failed, walk, cordoning_and_draining);
    flow!(failed, walk, deleting);
    flow!(failed, walk, custom_kinds);
    flow!(failed, walk, live);
    flow!(failed, walk, more::nobody_is_shut_out);
    flow!(failed, walk, dark_and_small);
    flow!(failed, walk, without_scripts);
    flow!(failed, walk, logging_in);
    assert_eq!(failed, Vec::<&str>::new());
    assert_eq!(walk.browser.complaints, Vec::<String>::new());
}

pub async fn fine(walk: &mut Walk<'_>, shot: &str) {
    assert_eq!(walk.browser.barriers().await, json!([]), "{shot}");
    walk.browser.shoot(shot).await;
}

async fn overview(walk: &mut Walk<'_>) {
    let browser = &mut walk.browser;
    browser.sees("things are wrong").await;
    browser.sees("Deployment api has none of its 2 pods available").await;
    browser.until("document.querySelectorAll('table.nodes tbody tr').length === 2").await;
    // Each of them leads step by step to its cause.
    browser.click("ol.wrong summary").await;
    browser.until("document.querySelector('ol.wrong details').open").await;
    browser.sees("see that the image and its tag are spelled as the registry has them").await;
    fine(walk, "overview").await;
}

async fn topology(walk: &mut Walk<'_>) {
    walk.at("topology").await;
    let browser = &mut walk.browser;
    browser.until("document.querySelectorAll('svg.topology a.pod').length === 6").await;
    browser.until("document.querySelectorAll('svg.topology .lines path').length === 5").await;
    browser.until("document.querySelectorAll('svg.topology .lines path.off').length === 2").await;
    browser.eval("document.querySelector('[data-points-at]').focus()").await;
    browser.until("document.querySelector('.lines g.on')").await;
    fine(walk, "topology").await;
}

async fn tables(walk: &mut Walk<'_>) {
    walk.at("table?r=pods&in=shop").await;
    let browser = &mut walk.browser;
    browser.until("document.querySelectorAll('table.list tbody tr').length === 6").await;
    fine(walk, "table").await;
    let browser = &mut walk.browser;
    // It answers as one types, and says nothing of what is not typed to its end.
    browser.fill("#filter", "app in (api)").await;
    browser.until("document.querySelectorAll('table.list tbody tr').length === 2").await;
    browser.until("location.search.includes('api') && document.activeElement.id === 'filter'").await;
    browser.fill("#filter", "app in (web)").await;
    browser.press("Enter").await;
    browser.until("document.querySelectorAll('table.list tbody tr').length === 3").await;
    browser.click("Clear").await;
    browser.until("document.querySelectorAll('table.list tbody tr').length === 6").await;
    browser.click("Name").await;
    browser.until("document.querySelector('th[aria-sort=ascending]')").await;
    // Another namespace, by the chooser; what hears it is there when the page is whole.
    browser.until("document.readyState === 'complete'").await;
    browser.eval("(() => { const s = document.querySelector('#namespace'); s.value = 'default'; s.dispatchEvent(new Event('change', {bubbles: true})); })()").await;
    browser.sees("There are none").await;
}

async fn keys(walk: &mut Walk<'_>) {
    walk.at("table?r=deployments&g=apps&in=shop").await;
    let browser = &mut walk.browser;
    browser.until("document.querySelectorAll('table.list tbody tr').length === 3").await;
    for key in ["j", "j", "k"] {
        browser.press(key).await;
    }
    browser.until("document.activeElement.textContent === 'api'").await;
    browser.press("Enter").await;
    browser
        .until("document.querySelector('h1').textContent === 'api' && document.querySelector('.why')")
        .await;
    fine(walk, "deployment-in-trouble").await;
    let browser = &mut walk.browser;
    browser.press("?").await;
    browser.until("document.querySelector('#help').open").await;
    browser.click("Close").await;
    browser.press("g").await;
    browser.press("n").await;
    browser.until("document.querySelector('h1').textContent === 'Nodes'").await;
    browser.press("/").await;
    browser.until("document.activeElement.id === 'filter'").await;
}

async fn palette(walk: &mut Walk<'_>) {
    walk.at("").await;
    let browser = &mut walk.browser;
    browser.press(":").await;
    browser.until("document.activeElement.id === 'go'").await;
    browser.fill("#go", "deploy/web -n shop").await;
    browser.press("Enter").await;
    browser.until("document.querySelector('h1').textContent === 'web'").await;
    walk.at("go?q=nonsense").await;
    walk.browser.sees("The cluster has no kind \"nonsense\"").await;
}

pub const WEB: &str = "object?r=deployments&g=apps&in=shop&n=web";
const WEB_API: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

async fn scaling(walk: &mut Walk<'_>) {
    walk.at(WEB).await;
    let browser = &mut walk.browser;
    browser.until("document.querySelectorAll('table.list tbody tr').length === 3").await;
    fine(walk, "deployment").await;
    let browser = &mut walk.browser;
    browser.fill("#replicas", "4").await;
    browser.click("Scale").await;
    browser.sees("Scaled to 4.").await;
    // The page follows: the fourth pod comes by itself.
    browser.until("document.querySelectorAll('table.list tbody tr').length === 4").await;
    assert_eq!(walk.object(WEB_API).await["spec"]["replicas"], 4);
}

async fn editing(walk: &mut Walk<'_>) {
    walk.at(&format!("{WEB}&tab=yaml")).await;
    let text = walk.browser.eval("document.querySelector('#yaml').value").await;
    let text = text.as_str().unwrap().replace("replicas: 4", "replicas: 2");
    assert!(!text.contains("managedFields"), "{text}");
    fine(walk, "yaml").await;
    let browser = &mut walk.browser;
    browser.fill("#yaml", &text).await;
    browser.click("Review the change…").await;
    browser.sees("Review the change").await;
    browser
        .until(
            "[...document.querySelectorAll('.diff ins')].some((e) => e.textContent.includes('replicas: 2'))",
        )
        .await;
    fine(walk, "review").await;
    assert_eq!(walk.object(WEB_API).await["spec"]["replicas"], 4, "a review changes nothing");
    let browser = &mut walk.browser;
    browser.click("Apply").await;
    browser.until("document.querySelector('#yaml') && document.querySelector('#yaml').value.includes('replicas: 2')").await;
    assert_eq!(walk.object(WEB_API).await["spec"]["replicas"], 2);
}

async fn a_wrong_edit(walk: &mut Walk<'_>) {
    walk.at(&format!("{WEB}&tab=yaml")).await;
    let text = walk.browser.eval("document.querySelector('#yaml').value").await;
    let text = text.as_str().unwrap().replace("replicas: 2", "replicas: -2");
    let browser = &mut walk.browser;
    browser.fill("#yaml", &text).await;
    browser.click("Review the change…").await;
    browser.sees("Not changed").await;
    browser.sees("must be greater than or equal to 0").await;
    // What was typed is still there.
    browser.until("document.querySelector('#yaml').value.includes('replicas: -2')").await;
}

async fn history(walk: &mut Walk<'_>) {
    walk.at(&format!("{WEB}&tab=history")).await;
    let browser = &mut walk.browser;
    browser.sees("spec.replicas").await;
    browser.sees("orchestra-dashboard").await;
    // The first version, by the slider.
    browser.eval("(() => { const s = document.querySelector('.slider input'); s.value = 0; s.dispatchEvent(new Event('change', {bubbles: true})); })()").await;
    browser.sees("Put it back to this").await;
    fine(walk, "history").await;
    let browser = &mut walk.browser;
    browser.click("Put it back to this").await;
    browser.sees("It is again what it was at revision").await;
    assert_eq!(walk.object(WEB_API).await["spec"]["replicas"], 3);
}

async fn restarting(walk: &mut Walk<'_>) {
    walk.at(WEB).await;
    walk.browser.click("Restart").await;
    walk.browser.sees("Its pods are replaced one after another.").await;
    let annotations = &walk.object(WEB_API).await["spec"]["template"]["metadata"]["annotations"];
    assert!(annotations["kubectl.kubernetes.io/restartedAt"].is_string(), "{annotations}");
    let finished = |web: &Value| {
        web["status"]["updatedReplicas"] == 3
            && web["status"]["availableReplicas"] == 3
            && web["status"]["replicas"] == 3
    };
    walk.shop.until(WEB_API, finished).await;
}

/// To an earlier template, from the replica set that has it.
async fn rolling_back(walk: &mut Walk<'_>) {
    walk.at(&format!("{WEB}&tab=related")).await;
    let sets =
        "[...document.querySelectorAll('.owned li')].filter((e) => e.textContent.startsWith('ReplicaSet'))";
    walk.browser.until(&format!("{sets}.length === 2")).await;
    fine(walk, "related").await;
    let sets = walk.object("/apis/apps/v1/namespaces/shop/replicasets?labelSelector=app%3Dweb").await;
    let mut sets = sets["items"].as_array().unwrap().iter();
    let old =
        sets.find(|set| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1").unwrap();
    let name = old["metadata"]["name"].as_str().unwrap();
    walk.at(&format!("object?r=replicasets&g=apps&in=shop&n={name}")).await;
    walk.browser.click("Roll back to this").await;
    walk.browser.sees("It goes back to what").await;
    let template = walk.object(WEB_API).await["spec"]["template"].clone();
    assert_eq!(template["metadata"]["annotations"], Value::Null);
    assert_eq!(template["metadata"]["labels"], json!({"app": "web"}));
}

async fn logs(walk: &mut Walk<'_>) {
    walk.at("table?r=pods&in=shop&l=app%3Dweb").await;
    walk.browser.click("a.name").await;
    walk.browser.until("document.querySelector('.tabs a')").await;
    fine(walk, "pod").await;
    let browser = &mut walk.browser;
    browser.press("6").await;
    browser.until("document.querySelector('#log')?.textContent.includes('line 39: <script>')").await;
    browser.until("document.title !== 'owned'").await;
    browser.fill("#find", "line 7:").await;
    browser.until("document.querySelector('#log').textContent.split('\\n').length < 4").await;
    fine(walk, "logs").await;
}

async fn cordoning_and_draining(walk: &mut Walk<'_>) {
    walk.at("object?r=nodes&n=node-a").await;
    fine(walk, "node").await;
    let browser = &mut walk.browser;
    browser.click("Cordon").await;
    browser.sees("It takes no new pods.").await;
    assert_eq!(walk.object("/api/v1/nodes/node-a").await["spec"]["unschedulable"], true);
    let browser = &mut walk.browser;
    browser.click("Drain…").await;
    browser.sees("is made anew elsewhere").await;
    fine(walk, "drain").await;
    walk.browser.click("Drain").await;
    walk.browser.sees("pods move away").await;
    let elsewhere = |list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
    walk.shop.until("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a", elsewhere).await;
    walk.browser.click("Uncordon").await;
    walk.browser.sees("It takes pods again.").await;
}

async fn deleting(walk: &mut Walk<'_>) {
    walk.at("object?r=deployments&g=apps&in=shop&n=worker").await;
    walk.browser.click("Delete…").await;
    walk.browser.sees("What goes with it").await;
    walk.browser.until("document.querySelectorAll('.owned li').length >= 2").await;
    fine(walk, "delete").await;
    walk.browser.click("Keep").await;
    walk.browser.until("document.querySelector('h1').textContent === 'worker'").await;
    walk.browser.click("Delete…").await;
    walk.browser.sees("What goes with it").await;
    walk.browser.click("Delete").await;
    walk.browser.sees("worker is deleted.").await;
    assert_eq!(walk.object("/apis/apps/v1/namespaces/shop/deployments/worker").await["code"], 404);
    // What is gone has a past still.
    walk.at("object?r=deployments&g=apps&in=shop&n=worker").await;
    walk.browser.click("what it was").await;
    walk.browser.sees("deleted").await;
}

async fn custom_kinds(walk: &mut Walk<'_>) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = json!({
        "name": "v1", "served": true, "storage": true, "schema": schema,
        "additionalPrinterColumns": [{"name": "Flavour", "type": "string", "jsonPath": ".spec.flavour"}],
    });
    let names = json!({"plural": "teas", "singular": "tea", "kind": "Tea", "shortNames": ["te"]});
    let spec =
        json!({"group": "drinks.example", "scope": "Namespaced", "names": names, "versions": [version]});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    walk.shop.make(path, json!({"metadata": {"name": "teas.drinks.example"}, "spec": spec})).await;
    let teas = "/apis/drinks.example/v1/namespaces/shop/teas";
    walk.shop.until(teas, |list| list["kind"] == "TeaList").await;
    let tea = json!({"apiVersion": "drinks.example/v1", "kind": "Tea", "metadata": {"name": "assam"}, "spec": {"flavour": "malty", "steeps": {"minutes": 4}}});
    walk.shop.make(teas, tea).await;
    walk.at("kinds").await;
    fine(walk, "kinds").await;
    walk.browser.click("Tea").await;
    walk.browser.sees("malty").await;
    walk.browser.sees("Flavour").await;
    walk.browser.click("assam").await;
    walk.browser.sees("minutes").await;
    fine(walk, "custom").await;
}

/// A pod that dies is seen to, without anybody asking.
async fn live(walk: &mut Walk<'_>) {
    walk.at("topology?in=shop").await;
    let browser = &mut walk.browser;
    browser.until("document.querySelector('#live.on')").await;
    let first =
        browser.eval("[...document.querySelectorAll('a.pod')].map((e) => e.dataset.key).sort()[0]").await;
    let gone = format!("!document.querySelector('a.pod[data-key={}]')", first);
    let count = browser.eval("document.querySelectorAll('a.pod').length").await;
    let uid = first.as_str().unwrap().strip_prefix("pod/").unwrap().to_owned();
    let pods = walk.object("/api/v1/namespaces/shop/pods").await;
    let pod =
        pods["items"].as_array().unwrap().iter().find(|pod| pod["metadata"]["uid"] == *uid).unwrap().clone();
    let path = format!(
        "/api/v1/namespaces/shop/pods/{}?gracePeriodSeconds=0",
        pod["metadata"]["name"].as_str().unwrap()
    );
    walk.shop.send(http::Method::DELETE, &path, &[], "").await;
    walk.browser.until(&gone).await;
    walk.browser.until(&format!("document.querySelectorAll('a.pod').length === {count}")).await;
}

async fn dark_and_small(walk: &mut Walk<'_>) {
    walk.browser.dark(true).await;
    walk.at("").await;
    fine(walk, "overview-dark").await;
    walk.at("topology").await;
    fine(walk, "topology-dark").await;
    walk.browser.resize(390, 844).await;
    for (page, shot) in
        [("", "phone-overview"), ("table?r=pods&in=shop", "phone-table"), (WEB, "phone-deployment")]
    {
        walk.at(page).await;
        fine(walk, shot).await;
    }
    walk.browser.resize(1280, 800).await;
    walk.browser.dark(false).await;
}

async fn without_scripts(walk: &mut Walk<'_>) {
    walk.browser.scripts(false).await;
    for (page, text) in [
        ("", "Recent events"),
        ("topology", "Topology"),
        ("table?r=pods&in=shop", "Running"),
        (WEB, "Conditions"),
        ("object?r=deployments&g=apps&in=shop&n=web&tab=history", "spec.replicas"),
    ] {
        walk.at(page).await;
        walk.browser.sees(text).await;
        walk.browser.until("document.querySelector('#live').hidden").await;
    }
    walk.browser.scripts(true).await;
}

/// By a token, on the server itself.
async fn logging_in(walk: &mut Walk<'_>) {
    let server = format!("https://{}/ui/", walk.shop.api.address());
    walk.browser.trust().await;
    walk.browser.goto(&server).await;
    walk.browser.sees("Bearer token").await;
    fine(walk, "login").await;
    walk.browser.fill("#token", "nobodys").await;
    walk.browser.click("Log in").await;
    walk.browser.sees("The API does not know whose token this is.").await;
    walk.browser.fill("#token", "of-the-administrator").await;
    walk.browser.click("Log in").await;
    walk.browser.sees("Recent events").await;
    walk.browser.until("document.cookie === ''").await;
    walk.browser.click("Log out").await;
    walk.browser.sees("Bearer token").await;
}
