//! APIServices of what this server serves itself: one for each group and version in the table of kinds, for as long as
//! it is there.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

use self::plan::Next;
use super::Host;
use crate::api::{Service, Status};
use crate::control::{Action, Context, Error, predicate, write};
use crate::meta::ObjectName;
use crate::watch::Query;

/// Stands for all of them.
const ALL: &str = "";
/// How often the table of kinds is looked at where nobody says when it changes.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<APIService>()
        .named("autoregister-controller")
        .when(|_: &crate::watch::Event| false)
        .named_by(changes(Arc::clone(host.client.service())))
        .watches::<APIService, _, _>(|_| [ObjectName::cluster(ALL)])
        .when(predicate::deleted);
    host.run(controller, look).await
}

/// Names all of them at first, and whenever the table of kinds has changed.
fn changes(service: Arc<dyn Service>) -> impl Stream<Item = ObjectName> {
    let first: BoxFuture<'static, ()> = Box::pin(std::future::ready(()));
    futures::stream::unfold(Some(first), move |change| {
        let service = Arc::clone(&service);
        async move {
            change?.await;
            // Waited for from now on: what changes while they are looked at leads to another look.
            Some((ObjectName::cluster(ALL), service.kinds_changed()))
        }
    })
}

async fn look(context: Context) -> Result<Action, Error> {
    if context.name().name() != ALL {
        return Ok(Action::Done);
    }
    let service = context.client().service();
    let served = service.group_versions().await?;
    let held = context.cache::<APIService>().await?.list(&Query::all());
    for next in plan::next(&served, &held) {
        match next {
            Next::Create(object) => match write::create::<APIService>(context.client(), "", object).await {
                // Another master made it.
                Err(status) if !status.is_already_exists() => return Err(status.into()),
                _ => {}
            },
            Next::Delete(entry) => {
                write::delete::<APIService>(context.client(), entry.name(), entry.uid()).await?;
            }
        }
    }
    Ok(match service.kinds_changed() {
        Some(_) => Action::Done,
        None => Action::Again(LOOK_AGAIN),
    })
}
