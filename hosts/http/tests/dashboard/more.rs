//! More of what a person does: a terminal, a port, what would happen if, and who is shut out by nothing.

use serde_json::{Value, json};

use crate::browser::{WEB, Walk, fine};

/// The page of a pod of the shop that runs.
async fn a_pod(walk: &mut Walk<'_>) -> String {
    let pods = walk.object("/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb").await;
    let is_running = |pod: &&Value| {
        pod["status"]["phase"] == "Running" && pod["metadata"].get("deletionTimestamp").is_none()
    };
    let pod = pods["items"].as_array().unwrap().iter().find(is_running).unwrap();
    pod["metadata"]["name"].as_str().unwrap().to_owned()
}

pub async fn following_a_log(walk: &mut Walk<'_>) {
    // The roll-back before this is over.
    let is_over = |web: &Value| {
        let status = &web["status"];
        ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|count| status[count] == 3)
            && status["observedGeneration"] == web["metadata"]["generation"]
    };
    walk.shop.until("/apis/apps/v1/namespaces/shop/deployments/web", is_over).await;
    let pod = a_pod(walk).await;
    walk.at(&format!("object?r=pods&in=shop&n={pod}&tab=logs")).await;
    let browser = &mut walk.browser;
    browser.until("document.querySelector('#log').textContent.includes('line 39')").await;
    browser.until("document.querySelector('#tail').checked").await;
    browser.eval("document.querySelector('#wrap').click()").await;
    browser.until("!document.querySelector('#log').classList.contains('wrap')").await;
}

pub async fn a_terminal(walk: &mut Walk<'_>) {
    let pod = a_pod(walk).await;
    walk.at(&format!("object?r=pods&in=shop&n={pod}")).await;
    walk.browser.press("7").await;
    let browser = &mut walk.browser;
    // What the program says is shown as it means it, and is never markup.
    browser.until("document.querySelector('.screen .f2')?.textContent === '/bin/sh'").await;
    browser.until("document.querySelector('.screen').textContent.includes('<b>$</b>')").await;
    // Keys go to the program: this one says them again.
    browser.until("document.activeElement.matches('.terminal textarea')").await;
    for key in ["l", "s", "Enter", "7"] {
        browser.press(key).await;
    }
    // What Enter sends leads to the beginning of the line, and a key that leads elsewhere in other pages is a letter here.
    browser.until("document.querySelector('#terminal').screen.text() === '7bin/sh <b>$</b> ls'").await;
    fine(walk, "terminal").await;
    let browser = &mut walk.browser;
    browser.press("F6").await;
    browser.until("document.activeElement.name === 'c'").await;
    // Another command; and a page that does not come from the dashboard opens none.
    browser.fill("input[name=cmd]", "psql -c x").await;
    browser.click("Run").await;
    browser.until("document.querySelector('.screen .f2')?.textContent === 'psql'").await;
    let forged = "new Promise((done) => { const url = new URL(document.querySelector('#terminal').dataset.exec, location.href); \
         url.protocol = 'ws'; url.searchParams.set('guard', '0'.repeat(32)); const s = new WebSocket(url, ['v5.channel.k8s.io']); \
         s.onopen = () => done('open'); s.onerror = () => done('refused'); })";
    assert_eq!(browser.eval(forged).await, "refused");
    screens(walk).await;
    // That it was refused is in the console, as it should be.
    walk.browser.complaints.clear();
}

/// What becomes of a screen of ten columns and four rows by what programs write.
async fn screens(walk: &mut Walk<'_>) {
    for (written, shown) in [
        ("hello\r\nworld", "hello\nworld"),
        ("0123456789abc", "0123456789\nabc"),
        ("a\x1b[5Gb\x1b[2;3Hc", "a   b\n  c"),
        ("1\r\n2\r\n3\r\n4\r\n5", "2\n3\n4\n5"),
        ("abc\x1b[1D\x1b[Kd", "abd"),
        ("\x1b(0lqk\x1b(B", "┌─┐"),
        ("\x1b[2;3r\x1b[3;1Ha\nb\nc", "\n b\n  c"),
        ("x\x1b[?1049hy\x1b[?1049lz", "xz"),
        ("\x1b]0;title\x07ok\x1bP1$r0m\x1b\\!", "ok!"),
        ("日本x\r\ne\u{301}", "日本x\ne\u{301}"),
        ("ab\x1b[1G\x1b[@c", "cab"),
        ("abcdef\x1b[2G\x1b[2P", "adef"),
        ("1\r\n2\r\n3\x1b[2;1H\x1b[L", "1\n\n2\n3"),
        ("1\r\n2\r\n3\x1b[1;1H\x1b[M", "2\n3"),
        ("abc\x1b[2J\x1b[Hx", "x"),
        ("\x1b[999999999A\x1b[?1;2;3;4z\x1b[<xy", "y"),
    ] {
        let asked = format!(
            "(() => {{ const s = new (document.querySelector('#terminal').screen.constructor)(10, 4); s.feed({}); return s.text(); }})()",
            json!(written)
        );
        assert_eq!(walk.browser.eval(&asked).await, shown, "{written:?}");
    }
}

/// What listens in a pod is shown, and reaches nothing of the dashboard.
pub async fn a_port(walk: &mut Walk<'_>) {
    walk.at("object?r=services&in=shop&n=web").await;
    let link = walk
        .browser
        .eval("[...document.querySelectorAll('a')].find((a) => a.textContent === 'Open').href")
        .await;
    let link = link.as_str().unwrap().to_owned();
    walk.browser.goto(&link).await;
    let browser = &mut walk.browser;
    browser.sees("The shop").await;
    // Its own script and data come, without any cookie of ours.
    browser.until("document.querySelector('#data').textContent === 'cookies: false'").await;
    browser.until("document.querySelector('#open').textContent === 'open: '").await;
    browser.until("document.title === 'not read'").await;
    browser.until("document.querySelector('a').href.endsWith('/second') && document.querySelector('a').href.includes('/ui/port/')").await;
    browser.shoot("port").await;
    // What a sandbox forbids is said in the console.
    browser.complaints.clear();
    walk.browser.goto(&link.replace("/port/", "/port/x")).await;
    walk.browser.sees("this link is too old").await;
}

pub async fn what_if_a_node_is_lost(walk: &mut Walk<'_>) {
    walk.at("object?r=nodes&n=node-a").await;
    let browser = &mut walk.browser;
    browser.click("What if I…").await;
    browser.until("document.querySelector('.menu-button').open").await;
    browser.click("lost it").await;
    browser.sees("What would happen").await;
    browser.sees("lose the node node-a").await;
    browser.sees("ready → not ready").await;
    browser.sees("shop/deployment/web").await;
    fine(walk, "what-if-lost").await;
    let node = walk.object("/api/v1/nodes/node-a").await;
    let ready = node["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["type"] == "Ready")
        .unwrap()
        .clone();
    assert_eq!(ready["status"], "True", "nothing of it happened");
}

pub async fn what_if_it_is_scaled(walk: &mut Walk<'_>) {
    walk.at(WEB).await;
    let browser = &mut walk.browser;
    browser.fill("#replicas", "5").await;
    browser.click("What if?").await;
    browser.sees("to 5").await;
    browser.sees("3 → 5").await;
    fine(walk, "what-if-scaled").await;
    walk.browser.click("Leave it as it is").await;
    walk.browser.until("document.querySelector('h1').textContent === 'web'").await;
    let web = walk.object("/apis/apps/v1/namespaces/shop/deployments/web").await;
    assert_eq!(web["spec"]["replicas"], 3, "nothing of it happened");
}

pub async fn what_if_it_is_edited(walk: &mut Walk<'_>) {
    walk.at(&format!("{WEB}&tab=yaml")).await;
    let text = walk.browser.eval("document.querySelector('#yaml').value").await;
    let browser = &mut walk.browser;
    browser.fill("#yaml", &text.as_str().unwrap().replace("cpu: 100m", "cpu: 64")).await;
    browser.click("What would happen?").await;
    browser.sees("Pods that would find no node").await;
    browser.sees("Insufficient cpu").await;
    fine(walk, "what-if-edited").await;
    // What cannot be is told so.
    walk.at(&format!("{WEB}&tab=yaml")).await;
    let browser = &mut walk.browser;
    browser.fill("#yaml", &text.as_str().unwrap().replace("replicas: 3", "replicas: -3")).await;
    browser.click("What would happen?").await;
    browser.sees("must be greater than or equal to 0").await;
}

pub async fn what_if_it_is_deleted(walk: &mut Walk<'_>) {
    walk.at("delete?r=deployments&g=apps&in=shop&n=web").await;
    walk.browser.click("What would happen?").await;
    walk.browser.sees("delete deployments.apps shop/web").await;
    walk.browser.sees("3 → 0").await;
    walk.browser.click("Leave it as it is").await;
    walk.browser.until("document.querySelector('h1').textContent === 'web'").await;
}

pub async fn what_would_help(walk: &mut Walk<'_>) {
    walk.shop.few().await;
    walk.at("object?r=deployments&g=apps&in=few&n=web").await;
    let browser = &mut walk.browser;
    browser.sees("may not make its pods").await;
    browser.click("What would help?").await;
    browser.sees("raise pods to 2 of the quota small").await;
    browser.sees("nothing was the matter any more").await;
    fine(walk, "what-would-help").await;
    walk.browser.click("Back to it").await;
    walk.browser.until("document.querySelector('h1').textContent === 'web'").await;
    let quota = walk.object("/api/v1/namespaces/few/resourcequotas/small").await;
    assert_eq!(quota["spec"]["hard"]["pods"], "1", "nothing of it happened");
}

/// axe-core finds nothing serious, if it can be had: `ORCHESTRA_AXE` names its file, which is not part of this repository.
/// What every page must have is looked at in any case.
pub async fn nobody_is_shut_out(walk: &mut Walk<'_>) {
    let axe = std::env::var_os("ORCHESTRA_AXE").map(|file| std::fs::read_to_string(file).unwrap());
    let pod = a_pod(walk).await;
    let pages = [
        String::new(),
        "topology".into(),
        "kinds".into(),
        "table?r=pods".into(),
        WEB.into(),
        format!("{WEB}&tab=yaml"),
        format!("{WEB}&tab=history"),
        "object?r=nodes&n=node-a".into(),
        "drain?r=nodes&n=node-a".into(),
        format!("object?r=pods&in=shop&n={pod}&tab=logs"),
        format!("object?r=pods&in=shop&n={pod}&tab=terminal"),
    ];
    for dark in [false, true] {
        walk.browser.dark(dark).await;
        for page in &pages {
            walk.at(page).await;
            assert_eq!(walk.browser.barriers().await, json!([]), "{page}");
            assert_eq!(walk.browser.faint().await, json!([]), "{page}, dark: {dark}");
            let Some(axe) = &axe else { continue };
            walk.browser.run(axe).await;
            let found = walk.browser.eval(
                "axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations.filter((v) => ['serious', 'critical'].includes(v.impact)) \
                 .map((v) => v.id + ': ' + v.nodes.map((n) => n.html.slice(0, 120) + ' ' + n.failureSummary.slice(0, 200)).join(' | ')))",
            );
            assert_eq!(found.await, json!([]), "{page}, dark: {dark}");
        }
    }
    walk.browser.dark(false).await;
}
