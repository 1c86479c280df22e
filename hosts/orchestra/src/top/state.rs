//! What is looked at, and what keys make of it; pure.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use orchestra_core::explain::{About, Step, Story};
use orchestra_core::selector::Selector;

use super::columns::Column;
use super::rows::{self, Row};
use crate::explain::one;

/// How many lines of a log are kept.
const KEPT: usize = 10_000;
/// How many events of an object are shown.
const EVENTS: usize = 50;
/// How far a page goes.
const PAGE: usize = 20;

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Wrong,
    Pods,
    Nodes,
    Events,
}

impl Tab {
    pub(super) const ALL: [Self; 4] = [Self::Wrong, Self::Pods, Self::Nodes, Self::Events];
}

/// By what pods are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Name,
    Restarts,
    Cpu,
    Memory,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Restarts => "restarts",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Name => Self::Restarts,
            Self::Restarts => Self::Cpu,
            Self::Cpu => Self::Memory,
            Self::Memory => Self::Name,
        }
    }

    /// The column of a pod's row that it is about.
    fn column(self) -> Option<usize> {
        match self {
            Self::Name => None,
            Self::Restarts => Some(2),
            Self::Cpu => Some(3),
            Self::Memory => Some(4),
        }
    }
}

/// What the cluster shows to whoever looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    pub(super) cluster: String,
    pub(super) pods: Vec<Row>,
    pub(super) nodes: Vec<Row>,
    pub(super) events: Vec<Row>,
    pub(super) wrong: Vec<Story>,
    pub(super) namespaces: Vec<String>,
    /// The kinds that may not be seen.
    pub(super) unread: Vec<String>,
    /// Whether all that is followed has come once.
    pub(super) is_whole: bool,
}

/// A log that is followed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Log {
    pub(super) of: LogOf,
    pub(super) containers: Vec<String>,
    pub(super) lines: VecDeque<String>,
    rest: String,
    /// How many lines above the last one the view ends; nothing while it follows.
    pub(super) above: usize,
    pub(super) ended: Option<String>,
}

/// Which log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogOf {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
}

impl Log {
    /// Takes what came of it.
    pub(super) fn take(&mut self, text: &str) {
        self.rest.push_str(text);
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            self.push(line.trim_end());
        }
        // A line without an end does not grow without one.
        if self.rest.len() > 64 * 1024 {
            let line = std::mem::take(&mut self.rest);
            self.push(&line);
        }
    }

    fn push(&mut self, line: &str) {
        // What would move the cursor or ring is no text.
        let line = line.replace('\t', "    ");
        self.lines.push_back(line.chars().filter(|letter| !letter.is_control()).collect());
        if self.above > 0 {
            self.above += 1;
        }
        if self.lines.len() > KEPT {
            self.lines.pop_front();
        }
        self.above = self.above.min(self.lines.len().saturating_sub(1));
    }
}

/// What keys are for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Mode {
    #[default]
    Browse,
    /// A selector is typed, and what was wrong with it.
    Typing(String, Option<String>),
    /// A namespace is chosen: which of the list, of which the first is all.
    Choosing(usize),
    /// Why something is as it is: how far it is scrolled.
    Reading(Reading),
    Log(Log),
    Help,
}

/// A text that is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) title: String,
    /// The object whose story it is, told anew as the cluster changes; else the text is what it says.
    pub(super) about: Option<About>,
    pub(super) text: String,
    pub(super) scroll: usize,
}

impl Reading {
    /// What is read: of an object, what is wrong with it or suffers from it, how it is, and what happened to it.
    pub(super) fn lines(&self, data: &Data) -> Vec<String> {
        let Some(about) = &self.about else { return self.text.lines().map(str::to_owned).collect() };
        let concerns = |story: &&Story| {
            let is_in = |step: &Step| step.about == *about;
            story.about == *about || story.affects.contains(about) || story.steps.iter().any(is_in)
        };
        let told: Vec<String> = data.wrong.iter().filter(concerns).map(one).collect();
        let text = if told.is_empty() { "Nothing is wrong with it.".to_owned() } else { told.join("\n") };
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let table: Option<(&[Row], &[Column])> = match &*about.resource {
            "pods" => Some((&data.pods, &rows::POD)),
            "nodes" => Some((&data.nodes, &rows::NODE)),
            _ => None,
        };
        let is_it = |row: &&Row| row.name == about.name && row.namespace == about.namespace;
        if let Some((row, columns)) =
            table.and_then(|(all, columns)| Some((all.iter().find(is_it)?, columns)))
        {
            let told = columns.iter().zip(&row.cells).filter(|(_, cell)| !cell.is_empty());
            let told: Vec<String> = told.map(|(column, cell)| format!("{} {cell}", column.title)).collect();
            lines.extend([String::new(), told.join("  ")]);
        }
        let object = format!("{}/{}", about.kind().to_lowercase(), about.name);
        let is_of = |row: &&Row| {
            row.cells[3] == object && (about.namespace.is_empty() || row.namespace == about.namespace)
        };
        let events: Vec<&Row> = data.events.iter().filter(is_of).take(EVENTS).collect();
        if !events.is_empty() {
            lines.extend([String::new(), "Events, the last first".to_owned()]);
            let told = |row: &&Row| format!("  {:<5} {}  {}", row.cells[0], row.cells[2], row.cells[4]);
            lines.extend(events.iter().map(told));
        }
        lines
    }
}

/// What a key asks for that is done elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Quit,
    Follow(LogOf),
    Unfollow,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) tab: Tab,
    pub(super) at: [usize; 4],
    /// The namespace; empty for all.
    pub(super) namespace: String,
    /// Which rows of which table are looked at.
    pub(super) selector: Option<(Tab, String, Selector)>,
    pub(super) sort: Sort,
    pub(super) mode: Mode,
}

impl View {
    pub(super) fn new(namespace: String) -> Self {
        Self { tab: Tab::Wrong, at: [0; 4], namespace, selector: None, sort: Sort::Name, mode: Mode::Browse }
    }

    fn is_here(&self, namespace: &str) -> bool {
        self.namespace.is_empty() || namespace.is_empty() || self.namespace == namespace
    }

    /// The rows of a tab that are looked at; of what is wrong there are stories instead.
    pub(super) fn rows<'d>(&self, tab: Tab, data: &'d Data) -> Vec<&'d Row> {
        let all = match tab {
            Tab::Wrong => return Vec::new(),
            Tab::Pods => &data.pods,
            Tab::Nodes => &data.nodes,
            Tab::Events => &data.events,
        };
        let selects = |row: &&Row| {
            let selector = self.selector.as_ref().filter(|(of, ..)| *of == tab);
            selector.is_none_or(|(.., selector)| selector.matches(&row.labels))
        };
        let mut rows: Vec<&Row> =
            all.iter().filter(|row| self.is_here(&row.namespace)).filter(selects).collect();
        if let Some(column) = self.sort.column().filter(|_| tab == Tab::Pods) {
            let figure = |row: &&Row| -> u64 {
                let digits =
                    row.cells.get(column).map(|cell| cell.trim_end_matches(|it: char| !it.is_ascii_digit()));
                digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
            };
            rows.sort_by_key(|row| std::cmp::Reverse(figure(row)));
        }
        rows
    }

    pub(super) fn stories<'d>(&self, data: &'d Data) -> Vec<&'d Story> {
        data.wrong.iter().filter(|story| self.is_here(&story.about.namespace)).collect()
    }

    pub(super) fn count(&self, tab: Tab, data: &Data) -> usize {
        match tab {
            Tab::Wrong => self.stories(data).len(),
            tab => self.rows(tab, data).len(),
        }
    }

    /// What a key makes of it.
    pub(super) fn press(&mut self, key: KeyEvent, data: &Data) -> Effect {
        let holds = key.modifiers.contains(KeyModifiers::CONTROL);
        if holds && key.code == KeyCode::Char('c') {
            return Effect::Quit;
        }
        match std::mem::take(&mut self.mode) {
            Mode::Browse => return self.browse(key.code, data),
            Mode::Typing(text, _) => self.typed(key.code, text),
            Mode::Choosing(at) => self.choose(key.code, at, data),
            Mode::Reading(mut reading) => {
                if !leaves(key.code) {
                    let last = reading.lines(data).len().saturating_sub(1);
                    reading.scroll = moved(reading.scroll, key.code, last);
                    self.mode = Mode::Reading(reading);
                }
            }
            Mode::Log(log) => return self.log(key.code, log),
            Mode::Help => {}
        }
        Effect::None
    }

    fn browse(&mut self, key: KeyCode, data: &Data) -> Effect {
        let tab = self.tab as usize;
        match key {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char(digit @ '1'..='4') => self.tab = Tab::ALL[digit as usize - '1' as usize],
            KeyCode::Tab | KeyCode::Right => self.tab = Tab::ALL[(tab + 1) % 4],
            KeyCode::BackTab | KeyCode::Left => self.tab = Tab::ALL[(tab + 3) % 4],
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('n') => {
                let at = data.namespaces.iter().position(|name| *name == self.namespace);
                self.mode = Mode::Choosing(at.map_or(0, |at| at + 1));
            }
            KeyCode::Char('/') => {
                // Events have no labels, and what is wrong is of many kinds: pods are meant.
                if self.tab != Tab::Nodes {
                    self.tab = Tab::Pods;
                }
                let own = self.selector.as_ref().filter(|(of, ..)| *of == self.tab);
                let text = own.map(|(_, text, _)| text.clone()).unwrap_or_default();
                self.mode = Mode::Typing(text, None);
            }
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Esc => self.selector = None,
            KeyCode::Char('l') if self.tab == Tab::Pods => {
                let rows = self.rows(Tab::Pods, data);
                let Some(row) = rows.get(self.at[tab].min(rows.len().saturating_sub(1))) else {
                    return Effect::None;
                };
                return self.follow(&row.namespace, &row.name, &row.containers, 0);
            }
            KeyCode::Enter => self.read(data),
            key => {
                let last = self.count(self.tab, data).saturating_sub(1);
                self.at[tab] = moved(self.at[tab].min(last), key, last);
            }
        }
        Effect::None
    }

    fn follow(&mut self, namespace: &str, pod: &str, containers: &[String], at: usize) -> Effect {
        let container = containers.get(at).cloned().unwrap_or_default();
        let of = LogOf { namespace: namespace.to_owned(), pod: pod.to_owned(), container };
        self.mode = Mode::Log(Log { of: of.clone(), containers: containers.to_vec(), ..Log::default() });
        Effect::Follow(of)
    }

    fn log(&mut self, key: KeyCode, mut log: Log) -> Effect {
        let (up, down) = (
            |by: usize| move |at: usize| at.saturating_add(by),
            |by: usize| move |at: usize| at.saturating_sub(by),
        );
        let most = log.lines.len().saturating_sub(1);
        match key {
            key if leaves(key) => return Effect::Unfollow,
            KeyCode::Char('c') if log.containers.len() > 1 => {
                let now = log.containers.iter().position(|name| *name == log.of.container).unwrap_or(0);
                let LogOf { namespace, pod, .. } = &log.of;
                return self.follow(namespace, pod, &log.containers, (now + 1) % log.containers.len());
            }
            KeyCode::Up | KeyCode::Char('k') => log.above = up(1)(log.above).min(most),
            KeyCode::PageUp => log.above = up(PAGE)(log.above).min(most),
            KeyCode::Home | KeyCode::Char('g') => log.above = most,
            KeyCode::Down | KeyCode::Char('j') => log.above = down(1)(log.above),
            KeyCode::PageDown | KeyCode::Char(' ') => log.above = down(PAGE)(log.above),
            KeyCode::End | KeyCode::Char('G') => log.above = 0,
            _ => {}
        }
        self.mode = Mode::Log(log);
        Effect::None
    }

    fn read(&mut self, data: &Data) {
        let at = self.at[self.tab as usize];
        let reading = match self.tab {
            Tab::Wrong => self
                .stories(data)
                .get(at)
                .map(|story| (story.summary.clone(), Some(story.about.clone()), String::new())),
            tab => self.rows(tab, data).get(at).map(|row| {
                let about = |resource| Some(About::new("", resource, &row.namespace, &row.name));
                match tab {
                    Tab::Events => (row.cells[3].clone(), None, row.cells[4].clone()),
                    Tab::Nodes => (format!("Node {}", row.name), about("nodes"), String::new()),
                    _ => (format!("Pod {}", row.name), about("pods"), String::new()),
                }
            }),
        };
        if let Some((title, about, text)) = reading {
            self.mode = Mode::Reading(Reading { title, about, text, scroll: 0 });
        }
    }

    fn choose(&mut self, key: KeyCode, at: usize, data: &Data) {
        match key {
            KeyCode::Enter => {
                self.namespace =
                    at.checked_sub(1).and_then(|at| data.namespaces.get(at)).cloned().unwrap_or_default();
                self.at = [0; 4];
            }
            key if leaves(key) => {}
            key => self.mode = Mode::Choosing(moved(at, key, data.namespaces.len())),
        }
    }

    fn typed(&mut self, key: KeyCode, mut text: String) {
        match key {
            KeyCode::Esc => return,
            KeyCode::Enter if text.trim().is_empty() => return self.selector = None,
            KeyCode::Enter => match Selector::parse(&text) {
                Ok(selector) => {
                    self.at = [0; 4];
                    return self.selector = Some((self.tab, text, selector));
                }
                Err(error) => return self.mode = Mode::Typing(text, Some(error.to_string())),
            },
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(letter) => text.push(letter),
            _ => {}
        }
        self.mode = Mode::Typing(text, None);
    }
}

fn leaves(key: KeyCode) -> bool {
    matches!(key, KeyCode::Esc | KeyCode::Char('q'))
}

/// Where a key moves to, from 0 to `last`.
fn moved(at: usize, key: KeyCode, last: usize) -> usize {
    let to = match key {
        KeyCode::Down | KeyCode::Char('j') => at.saturating_add(1),
        KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
        KeyCode::PageDown | KeyCode::Char(' ') => at.saturating_add(PAGE),
        KeyCode::PageUp => at.saturating_sub(PAGE),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => last,
        _ => at,
    };
    to.min(last)
}
