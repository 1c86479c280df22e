//! An operator that makes a database in two steps: its password, and then the database's first contents. If there is a
//! password already it believes that all was done before. It dies between the two, and the database is never ready.
//!
//! Mended, it takes nothing for done but what it sees done.

use std::time::Duration;

use orchestra_core::api::Patch;
use orchestra_core::control::{Action, Context, Error};
use orchestra_core::k8s_openapi::api::core::v1::Secret;
use orchestra_core::simulation::Scenario;
use serde_json::json;

use super::database::{self, Database, Volume, create, ensure, named, plain};

async fn reconcile(context: Context, buggy: bool) -> Result<Action, Error> {
    let Some(database) = context.object::<Database>().await? else { return Ok(Action::Done) };
    if database.spec.ready {
        return Ok(Action::Done);
    }
    let name = context.name().name();
    let (password, data) = (format!("{name}-password"), format!("{name}-data"));
    let made_before = context.cache::<Secret>().await?.get(&named(&context, &password)).is_some();
    ensure::<Secret>(&context, &password).await?;
    if !(buggy && made_before) {
        ensure::<Volume>(&context, &data).await?;
    }
    if context.cache::<Volume>().await?.get(&named(&context, &data)).is_some() {
        let ready = Patch::Merge(json!({"spec": {"ready": true}}));
        context.api::<Database>().patch(name, ready).await?;
    }
    Ok(Action::Done)
}

/// People make five databases.
pub fn scenario(buggy: bool) -> Scenario {
    let name = if buggy { "an operator that dies half way" } else { "one that sees what is done" };
    database::scenario(name, move |context| reconcile(context, buggy))
        .script(|world| async move {
            for number in 0..5 {
                create::<Database>(&world.client(), plain(&format!("db{number}"))).await?;
                world.sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        })
        .eventually("the database is ready", |state| {
            let waiting = state.objects::<Database>().find(|database| !database.spec.ready);
            waiting
                .map_or(Ok(()), |it| Err(format!("{} is not", it.metadata.name.clone().unwrap_or_default())))
        })
}
