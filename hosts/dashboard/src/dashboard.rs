//! From a request to its page.

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};

use crate::api::{Api, Asker, Body, Failure};
use crate::pages::{self, View};
use crate::ports::Ports;
use crate::route::Query;
use crate::session::{self, Session};
use crate::visit::Visit;
use crate::{act, answer, assets, live, streams};

/// A dashboard, mounted at a path of its host.
///
/// ```
/// # use orchestra_dashboard::Dashboard;
/// let dashboard = Dashboard::at("/ui");
/// assert!(dashboard.serves("/ui") && dashboard.serves("/ui/table") && !dashboard.serves("/uid"));
/// ```
#[derive(Clone, Debug)]
pub struct Dashboard {
    mount: String,
    ports: Ports,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self::at("/ui")
    }
}

impl Dashboard {
    /// A dashboard at a path, such as `/ui`.
    pub fn at(path: impl Into<String>) -> Self {
        let mount: String = path.into();
        Self { mount: format!("/{}", mount.trim_matches('/')), ports: Ports::new() }
    }

    /// Whether a path is one of the dashboard's.
    pub fn serves(&self, path: &str) -> bool {
        self.below(path).is_some()
    }

    /// The headers by which a request for a path says who sends it, also by a cookie of the dashboard or by the link to a
    /// port: for a host that wants to know that before it reads a body.
    pub fn credentials(&self, path: &str, headers: &HeaderMap) -> HeaderMap {
        let ticket = self.page_of(path).and_then(|page| self.ports.credentials(page, headers));
        ticket.unwrap_or_else(|| Session::of(headers).credentials)
    }

    /// Whether a path is below a link to a port that this dashboard gave out: the browser sends no cookie with what the
    /// page of such a port asks for.
    pub fn knows_link(&self, path: &str) -> bool {
        self.page_of(path).is_some_and(|page| self.ports.knows(page))
    }

    fn page_of<'p>(&self, path: &'p str) -> Option<&'p str> {
        self.below(path)?.strip_prefix('/')
    }

    fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(&*self.mount)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// Answers a request of a browser, with what the API says to whoever sent it. Streams end when the API's do.
    pub async fn answer(&self, request: Request<Bytes>, api: &dyn Api) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Some(below) = self.below(head.uri.path()) else {
            return answer::text(404, "404 page not found\n");
        };
        let Some(page) = below.strip_prefix('/') else {
            // Relative links lead where they should from a folder only.
            let last = self.mount.rsplit('/').next().unwrap_or_default();
            return answer::see(&format!("{last}/"));
        };
        if let Some(file) = assets::find(page, &head.headers) {
            return file;
        }
        if let Some(passed) = self.ports.answer(api, &self.mount, page, &head, &body).await {
            return passed;
        }
        let session = Session::of(&head.headers);
        let query = Query::parse(head.uri.query().unwrap_or_default());
        if page == "exec" {
            return streams::open(api, &head, &session, &query).await;
        }
        let asker = Asker::new(api, session.credentials.clone());
        let visit = Visit { asker, session, ports: &self.ports, query, page: page.to_owned() };
        let mut response = route(&head, &visit, &body).await;
        if visit.session.is_new {
            response = answer::with_cookie(response, &visit.session.keep_guard());
        }
        response
    }
}

fn route<'v>(head: &'v Parts, visit: &'v Visit<'_>, body: &'v Bytes) -> BoxFuture<'v, Response<Body>> {
    async move {
        match head.method {
            Method::GET | Method::HEAD => read(visit).await,
            Method::POST => {
                let form = Query::parse(&String::from_utf8_lossy(body));
                post(visit, &head.headers, &form).await
            }
            _ => answer::text(405, "405 method not allowed\n"),
        }
    }
    .boxed()
}

async fn read(visit: &Visit<'_>) -> Response<Body> {
    let outcome = match &*visit.page {
        "live" => return live::follow(visit).await,
        "log" => return live::log(visit).await,
        "login" => return answer::html(200, pages::login::page(visit, None)),
        "" => pages::overview::page(visit).await,
        "topology" => pages::topology::page(visit).await,
        "kinds" => pages::all_kinds::page(visit).await,
        "table" => pages::table::page(visit).await,
        "object" => pages::object::page(visit).await,
        "delete" => pages::confirm::delete(visit).await,
        "drain" => pages::confirm::drain(visit).await,
        "go" => pages::all_kinds::go(visit).await,
        _ => Err(Failure::new(404, "There is no such page.")),
    };
    match outcome {
        Ok(view) => shown(visit, 200, view).await,
        Err(failure) => failed(visit, &failure).await,
    }
}

/// A page, with what the last form did.
async fn shown(visit: &Visit<'_>, code: u16, view: View) -> Response<Body> {
    if let Some(to) = &view.leads_to {
        return answer::see(to);
    }
    let page = pages::shell::page(visit, view).await;
    let response = answer::html(code, page);
    match visit.session.said {
        Some(_) => answer::with_cookie(response, &session::said_it()),
        None => response,
    }
}

async fn failed(visit: &Visit<'_>, failure: &Failure) -> Response<Body> {
    if failure.code == 401 || (failure.code == 403 && pages::shell::is_nobody(visit).await) {
        let why = visit.session.has_token.then_some("The API does not take the token any more.");
        let page = answer::html(failure.code, pages::login::page(visit, why));
        return if visit.session.has_token && failure.code == 401 {
            answer::with_cookie(page, &session::forget_token())
        } else {
            page
        };
    }
    shown(visit, failure.code, pages::failure(failure)).await
}

async fn post(visit: &Visit<'_>, headers: &HeaderMap, form: &Query) -> Response<Body> {
    if !visit.session.sent(headers, form) {
        let failure = Failure::new(
            400,
            "This form was not sent by a page of the dashboard, or its page is too old. Go back, load the page again \
             and repeat what you did.",
        );
        return shown(visit, 400, pages::failure(&failure)).await;
    }
    match &*visit.page {
        "login" => login(visit, form).await,
        "logout" => answer::with_cookie(answer::see("login"), &session::forget_token()),
        "edit" => match pages::edit::page(visit, form).await {
            Ok(view) => shown(visit, 200, view).await,
            Err(failure) => failed(visit, &failure).await,
        },
        "what-if" => match pages::what_if::page(visit, form).await {
            Ok(view) => shown(visit, 200, view).await,
            Err(failure) => failed(visit, &failure).await,
        },
        "do" => match act::perform(visit, form).await {
            Ok(done) => answer::with_cookie(answer::see(&done.next), &session::say(&done.said)),
            Err(failure) => failed(visit, &failure).await,
        },
        _ => answer::text(404, "404 page not found\n"),
    }
}

/// Keeps a token, if the API takes it.
async fn login(visit: &Visit<'_>, form: &Query) -> Response<Body> {
    let again = |why: &str| answer::html(401, pages::login::page(visit, Some(why)));
    let cookie = match session::keep_token(form.get("token")) {
        Ok(cookie) => cookie,
        Err(why) => return again(why),
    };
    let asker = visit.asker.with_token(form.get("token").trim());
    match pages::shell::who(&asker).await {
        Ok(Some(_)) => answer::with_cookie(answer::see("."), &cookie),
        Ok(None) => again("The API does not know whose token this is."),
        Err(failure) => again(&failure.message),
    }
}
