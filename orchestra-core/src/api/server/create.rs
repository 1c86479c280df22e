use super::Server;
use super::caches::Open;
use super::current::Write;
use super::draft::Draft;
use super::write::{ATTEMPTS, Failed, Next};
use crate::api::request::{Body, Response, Target, User, Verb, WriteOptions};
use crate::api::{Reason, Status};

impl Server {
    /// Makes a new object. A name that was generated and is taken is generated anew.
    pub(super) async fn create(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        body: Body,
        options: WriteOptions,
    ) -> Result<Response, Status> {
        if target.name.is_some() {
            return Err(Status::method_not_allowed());
        }
        if !options.dry_run {
            for admission in self.admission.iter().filter(|admission| admission.concerns(kind)) {
                admission.has_room(kind)?;
            }
        }
        let write = Write::new(user, kind, target, Verb::Create, &options);
        let again = body.to_read_again();
        let read = |body| {
            let mut draft = Draft::read(kind, target, body, options.field_validation)?;
            draft.settle_namespace(kind, target)?;
            Ok::<_, Status>(draft)
        };
        let mut draft = read(body)?;
        for attempt in 1..=ATTEMPTS {
            let generates = !draft.is_named();
            match self.attempt(write, None, Next::Put(draft)).await {
                Ok(response) => return Ok(response),
                Err(Failed::Status(status)) => return Err(status),
                Err(Failed::Taken(name)) if !generates || attempt == ATTEMPTS => {
                    return Err(Status::already_exists(&kind.id, name.name()));
                }
                // Another name is free.
                Err(Failed::Taken(_)) => draft = read(again.clone())?,
                // What an admission gives or counts has changed: it is to be seen as it is now.
                Err(Failed::Changed) => {
                    self.catch_up().await?;
                    draft = read(again.clone())?;
                }
            }
        }
        Err(Status::new(Reason::ServerTimeout, "too many others are writing at once; try again"))
    }
}
