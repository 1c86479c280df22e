//! `orchestra top`: what runs in a cluster and what is wrong there, live, on a terminal.
//!
//! | module | what |
//! | --- | --- |
//! | `rows` | an object as a row; pure |
//! | `columns` | which of a table's columns there is room for; pure |
//! | `state` | what is looked at, and what keys make of it; pure |
//! | `view` | the state as a picture; pure |
//! | `feed` | the cluster, by watches |

mod columns;
mod feed;
mod rows;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal as _};
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossterm::event::{self, Event, KeyEventKind};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use orchestra_core::api::{Client, Connect, Connection, ListOptions, LogQuery, Operation, Reason, Target};
use orchestra_core::runtime::LogOptions;
use ratatui::DefaultTerminal;
use tokio::sync::mpsc;

use crate::backup::connect;
use crate::cli::Top;
use feed::Feed;
use state::{Data, Effect, Log, LogOf, Mode, View};

/// How often it is looked whether there is something to show.
const LOOK: Duration = Duration::from_millis(250);
/// How many lines of a log are shown at once.
const TAIL: u64 = 1000;
/// How long a line may be before it is shown without its end.
const LONGEST: usize = 64 * 1024;

/// What comes of a log.
enum Came {
    Text(String),
    Ended(String),
}

type Lines = Pin<Box<dyn Stream<Item = Came> + Send>>;

pub(crate) async fn run(options: &Top) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("this is for a terminal; orchestra explain and kubectl write to files");
    }
    let remote = connect(&options.access)?;
    let client = remote.client();
    // A cluster that does not answer is told of before the screen is taken.
    let asked = client.call(Target::of::<Pod>(Some("default")), list_one()).await;
    if let Err(status) = asked
        && status.reason() != Reason::Forbidden
    {
        return Err(status).context("the cluster does not answer");
    }
    let namespace = options.namespace.clone().unwrap_or_default();
    // It gives the terminal back when it is dropped, also by a panic: that is what its hook is for.
    let mut screen = Screen(ratatui::try_init().context("the terminal cannot be taken")?);
    let mut session = Session::new(View::new(namespace), options.access.named());
    session.run(&mut screen.0, client).await
}

fn list_one() -> Operation {
    Operation::List(ListOptions { limit: 1, ..ListOptions::default() })
}

struct Screen(DefaultTerminal);

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What is shown, to whom, and what is followed for it.
struct Session {
    view: View,
    data: Data,
    cluster: String,
    log: Option<Lines>,
}

impl Session {
    fn new(view: View, cluster: String) -> Self {
        let data = Data { cluster: cluster.clone(), ..Data::default() };
        Self { view, data, cluster, log: None }
    }

    async fn run(&mut self, terminal: &mut DefaultTerminal, client: Client) -> anyhow::Result<()> {
        let mut keys = keys();
        let mut ends = Box::pin(ended());
        let opening = Feed::open(client.clone());
        tokio::pin!(opening);
        let mut feed: Option<Feed> = None;
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            terminal.draw(|frame| view::draw(frame, &self.view, &self.data))?;
            tokio::select! {
                opened = &mut opening, if feed.is_none() => feed = Some(opened),
                event = keys.recv() => match event {
                    Some(event) => if self.take(event?, &client) { return Ok(()) },
                    None => return Ok(()),
                },
                came = next(&mut self.log) => self.logged(came),
                () = &mut ends => return Ok(()),
                _ = ticks.tick() => {
                    if let Some(feed) = &mut feed && let Some(data) = feed.next().await {
                        self.data = Data { cluster: self.cluster.clone(), ..data };
                    }
                }
            }
        }
    }

    /// Does what an event asks for. Whether that is to end.
    fn take(&mut self, event: Event, client: &Client) -> bool {
        let Event::Key(key) = event else { return false };
        if key.kind == KeyEventKind::Release {
            return false;
        }
        match self.view.press(key, &self.data) {
            Effect::None => {}
            Effect::Quit => return true,
            Effect::Unfollow => self.log = None,
            Effect::Follow(of) => self.log = Some(follow(client.clone(), of)),
        }
        false
    }

    fn logged(&mut self, came: Option<Came>) {
        let Mode::Log(log) = &mut self.view.mode else { return self.log = None };
        match came {
            Some(Came::Text(text)) => log.take(&text),
            Some(Came::Ended(why)) => ended_log(log, why),
            None => {
                ended_log(log, "— it has ended —".to_owned());
                self.log = None;
            }
        }
    }
}

fn ended_log(log: &mut Log, why: String) {
    log.ended.get_or_insert(why);
}

async fn next(lines: &mut Option<Lines>) -> Option<Came> {
    match lines {
        Some(lines) => lines.next().await,
        None => std::future::pending().await,
    }
}

/// A log as it comes. Letters that are cut in two by a piece's end come whole.
fn follow(client: Client, of: LogOf) -> Lines {
    let opening = async move {
        let options = LogOptions { follow: true, tail_lines: Some(TAIL), ..LogOptions::default() };
        let query = LogQuery { container: Some(of.container), previous: false, options };
        let target = Target::of::<Pod>(Some(&of.namespace)).named(of.pod);
        match client.connect(target, Connect::Log(query)).await {
            Ok(Connection::Log(pieces)) => {
                let mut held = Vec::new();
                let told = pieces.map(move |piece| match piece {
                    Ok(bytes) => {
                        held.extend_from_slice(&bytes);
                        let whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                        let end = if held.len() > LONGEST { held.len() } else { whole };
                        Came::Text(
                            String::from_utf8_lossy(&held.drain(..end).collect::<Vec<u8>>()).into_owned(),
                        )
                    }
                    Err(status) => Came::Ended(status.to_string()),
                });
                told.boxed()
            }
            Ok(_) => futures::stream::empty().boxed(),
            Err(status) => futures::stream::iter([Came::Ended(status.to_string())]).boxed(),
        }
    };
    futures::stream::once(opening).flatten().boxed()
}

/// What is typed, read by a thread that waits for it. It ends with the program.
fn keys() -> mpsc::UnboundedReceiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let is_over = event.is_err();
            if sender.send(event).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

/// Ends when the program is asked to end.
async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
    let waits = signals.into_iter().flatten().map(|mut signal| Box::pin(async move { signal.recv().await }));
    futures::future::select_all(waits).await;
}
