//! A terminal into a container of a pod.

use maud::{Markup, html};

use super::Shown;
use super::logs::with_container;
use crate::pages::parts::hidden;
use crate::tell::{list, text};

pub(super) fn page(shown: &Shown<'_>) -> Markup {
    let query = with_container(shown);
    let parts = ["/spec/containers", "/spec/ephemeralContainers", "/spec/initContainers"];
    let names = parts.iter().flat_map(|part| list(&shown.object, part)).map(|one| text(one, "/name"));
    let names: Vec<&str> = names.collect();
    let (container, command) = (query.get("c"), query.get("cmd"));
    let guard = &shown.visit.session.guard;
    let exec = shown.spot.query().with("c", container).with("cmd", command).with("guard", &**guard);
    html! {
        form.choices action="object" data-submit-on-change {
            (hidden(&shown.spot.query().with("tab", "terminal")))
            label { "Container "
                select name="c" { @for name in &names { option selected[*name == container] { (name) } } }
            }
            label { "Command " input name="cmd" value=(command) placeholder="a shell" autocomplete="off" spellcheck="false"; }
            button { "Run" }
            span.quiet { "F6 leads out of the terminal." }
        }
        noscript { p.notice { "A terminal needs scripts. Without them: " code { "kubectl exec -it -n " (shown.spot.namespace) " " (shown.spot.name) " -c " (container) " -- sh" } } }
        div.terminal #terminal data-keep data-exec={ "exec?" (exec) } {
            div.screen tabindex="0" role="group" aria-label="What the program shows" { div {} div {} }
            textarea aria-label="Keys for the program" autocapitalize="off" autocomplete="off" spellcheck="false" rows="1" {}
            p.bar-below { span.said role="status" {} button hidden[true] { "Open it again" } }
        }
        script src="screen.js" defer {}
        script src="terminal.js" defer {}
    }
}
