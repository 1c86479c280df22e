//! Connections to what runs behind the objects of a master elsewhere.

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use orchestra_core::api::{Connect, Connection as Reached, LogQuery, Status, Target};
use orchestra_core::runtime;
use orchestra_core::stream::Session;

use super::Connection;
use super::forward;
use super::request::{Call, escape, path};
use super::session;

impl Connection {
    pub(super) async fn connect(&self, target: Target, connect: Connect) -> Result<Reached, Status> {
        let row = self.kinds.served(&target.group, &target.version, &target.resource);
        let part =
            row.and_then(|row| row.connecting(connect.stream())).ok_or_else(Status::method_not_allowed)?;
        let at = path(&target.sub(Arc::clone(&part.name)));
        let within = |container: Option<String>, words: Vec<String>| {
            let container = container.map(|name| format!("container={}", escape(&name)));
            format!("{at}?{}", container.into_iter().chain(words).collect::<Vec<_>>().join("&"))
        };
        match connect {
            Connect::Log(query) => self.log(within(query.container.clone(), words(&query))).await,
            Connect::Exec { container, options } => {
                let mut words = session::query(&options.streams);
                words.extend(session::command_query(&options.command));
                let session = session::begin(&self.channel, within(container, words), &options.streams);
                Ok(Reached::Session(told(session.await?)))
            }
            Connect::Attach { container, streams } => {
                let path = within(container, session::query(&streams));
                Ok(Reached::Session(told(session::begin(&self.channel, path, &streams).await?)))
            }
            Connect::PortForward(port) => {
                let path = within(None, vec![format!("ports={port}")]);
                Ok(Reached::Port(forward::port(&self.channel, path, port).await?))
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    async fn log(&self, path: String) -> Result<Reached, Status> {
        let response = self.channel.open(Call::get(path), "*/*").await?;
        let channel = self.channel.clone();
        // The channel comes along: a pool that is dropped takes its connections with it.
        let pieces = response.into_body().into_data_stream();
        Ok(Reached::Log(pieces.map_err(move |error| channel.unreachable(&error)).boxed()))
    }
}

fn told(session: runtime::Session) -> Session<Status> {
    let runtime::Session { stdin, stdout, stderr, resize, exit } = session;
    Session { stdin, stdout, stderr, resize, exit: exit.map_err(Status::internal).boxed() }
}

/// What of a log is asked for, as the words of a query.
fn words(query: &LogQuery) -> Vec<String> {
    let options = &query.options;
    let flags =
        [("previous", query.previous), ("follow", options.follow), ("timestamps", options.timestamps)];
    let flags = flags.iter().filter(|(_, set)| *set).map(|(name, _)| format!("{name}=true"));
    flags
        .chain(options.tail_lines.map(|lines| format!("tailLines={lines}")))
        .chain(options.limit_bytes.map(|bytes| format!("limitBytes={bytes}")))
        .chain(options.since.map(|time| format!("sinceTime={}", escape(&time.to_string()))))
        .collect()
}
