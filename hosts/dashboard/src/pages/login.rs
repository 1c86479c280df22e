//! Where a stranger says who that is.

use maud::{DOCTYPE, Markup, html};

use super::parts::guard;
use super::shell::head;
use crate::visit::Visit;

/// The page, and what was wrong with the last try.
pub(crate) fn page(visit: &Visit<'_>, wrong: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head("Log in"))
            body.bare {
                main #main {
                    p.brand { span.mark aria-hidden="true" {} "orchestra" }
                    h1 { "Log in" }
                    @if let Some(wrong) = wrong { p.notice.bad role="alert" { (wrong) } }
                    p { "The dashboard shows what you may see, so the API has to know who you are." }
                    form.stack method="post" action="login" {
                        (guard(visit))
                        label for="token" { "Bearer token" }
                        input #token name="token" type="password" autocomplete="off" required autofocus;
                        button.primary { "Log in" }
                    }
                    p { "A token of a service account:" }
                    pre { "kubectl create token NAME" }
                    p { "Without a token, as whom kubectl knows you:" }
                    pre { "orchestra dashboard" }
                    p { "or " code { "kubectl proxy" } ", and open " code { "http://localhost:8001/ui/" } }
                    p.quiet { "The token is kept in a cookie that scripts cannot read, until you log out or close the browser." }
                }
            }
        }
    }
}
