//! What is seen: the state drawn into a frame of whatever size; pure.

use orchestra_core::explain::Severity;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row as Cells, Table, TableState, Wrap};

use super::columns::{Column, GAP, cut, fitted};
use super::rows::{self, Row, Tone};
use super::state::{Data, Log, Mode, Reading, Tab, View};

const QUIET: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Busy => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red),
        Tone::Plain => Style::new(),
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, data: &Data) {
    let [head, tabs, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(header(view, data), head);
    frame.render_widget(tab_line(view, data), tabs);
    match &view.mode {
        Mode::Reading(reading) => read(frame, body, reading, data),
        Mode::Log(log) => followed(frame, body, log),
        _ => table(frame, body, view, data),
    }
    match &view.mode {
        Mode::Choosing(at) => namespaces(frame, body, *at, data),
        Mode::Help => help(frame, body),
        _ => {}
    }
    frame.render_widget(footer(view), foot);
}

fn header<'a>(view: &'a View, data: &'a Data) -> Line<'a> {
    let namespace = if view.namespace.is_empty() { "all namespaces" } else { &view.namespace };
    let mut spans = vec![
        Span::styled("orchestra top  ", STRONG),
        Span::raw(&*data.cluster),
        Span::raw("  "),
        Span::styled(namespace, STRONG),
    ];
    if let Some((_, text, _)) = &view.selector {
        spans.push(Span::styled(format!("  /{text}"), Style::new().fg(Color::Cyan)));
    }
    if !data.is_whole {
        spans.push(Span::styled("  reading …", QUIET));
    }
    if !data.unread.is_empty() {
        spans.push(Span::styled(format!("  not shown to you: {}", data.unread.join(", ")), QUIET));
    }
    Line::from(spans)
}

fn tab_line(view: &View, data: &Data) -> Line<'static> {
    let spans = Tab::ALL.iter().zip(["Wrong", "Pods", "Nodes", "Events"]).enumerate().flat_map(
        |(index, (tab, name))| {
            let text = format!(" {} {name} {} ", index + 1, view.count(*tab, data));
            let look = match *tab == view.tab {
                true => CHOSEN,
                false if *tab == Tab::Wrong && view.count(Tab::Wrong, data) > 0 => style(Tone::Bad),
                false => Style::new(),
            };
            [Span::styled(text, look), Span::raw(" ")]
        },
    );
    Line::from(spans.collect::<Vec<_>>())
}

fn footer(view: &View) -> Line<'_> {
    match &view.mode {
        Mode::Typing(text, wrong) => {
            let mut spans =
                vec![Span::styled("labels: ", STRONG), Span::raw(&**text), Span::styled(" ", CHOSEN)];
            match wrong {
                Some(wrong) => spans.push(Span::styled(format!("  {wrong}"), style(Tone::Bad))),
                None => spans.push(Span::styled("  such as app in (web, api),tier!=back", QUIET)),
            }
            Line::from(spans)
        }
        Mode::Log(_) => Line::styled("↑↓ scroll  G follow  c container  Esc back", QUIET),
        Mode::Reading(_) => Line::styled("↑↓ scroll  Esc back", QUIET),
        Mode::Choosing(_) => Line::styled("↑↓ choose  Enter take it  Esc back", QUIET),
        Mode::Browse | Mode::Help => {
            // The ways out first: they are to be seen in a narrow terminal too.
            let keys = match view.tab {
                Tab::Wrong => "Enter why  n namespace".to_owned(),
                Tab::Pods => {
                    format!("Enter why  l log  s sort: {}  n namespace  / labels", view.sort.name())
                }
                Tab::Nodes => "Enter why  / labels".to_owned(),
                Tab::Events => "Enter all of it  n namespace".to_owned(),
            };
            Line::styled(format!("? keys  q quit  {keys}"), QUIET)
        }
    }
}

fn table(frame: &mut Frame<'_>, area: Rect, view: &View, data: &Data) {
    if view.tab == Tab::Wrong {
        return wrong(frame, area, view, data);
    }
    let rows = view.rows(view.tab, data);
    let (own, is_namespaced): (&[Column], bool) = match view.tab {
        Tab::Nodes => (&rows::NODE, false),
        Tab::Events => (&rows::EVENT, true),
        _ => (&rows::POD, true),
    };
    if rows.is_empty() {
        return frame.render_widget(Line::styled("  There are none.", QUIET), area);
    }
    let names_rows = view.tab != Tab::Events;
    let tells_namespace = is_namespaced && view.namespace.is_empty();
    let mut columns: Vec<Column> = Vec::new();
    columns.extend(tells_namespace.then_some(rows::NAMESPACE));
    columns.extend(names_rows.then_some(rows::NAME));
    columns.extend(own);
    let words = |row: &&Row| {
        let mut words: Vec<String> = Vec::new();
        words.extend(tells_namespace.then(|| row.namespace.clone()));
        words.extend(names_rows.then(|| row.name.clone()));
        words.extend(row.cells.iter().cloned());
        words
    };
    let told: Vec<Vec<String>> = rows.iter().map(words).collect();
    let need = |column: usize| {
        let cells = told.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(columns[column].title.len())
    };
    let needs: Vec<usize> = (0..columns.len()).map(need).collect();
    let shown = fitted(&columns, &needs, area.width.into());
    let lines = told.iter().zip(&rows).map(|(cells, row)| {
        let cell = |(at, width): &(usize, usize)| Cell::new(cut(&cells[*at], *width, columns[*at].is_prose));
        Cells::new(shown.iter().map(cell)).style(style(row.tone))
    });
    let heads = shown.iter().map(|(at, width)| cut(columns[*at].title, *width, true));
    let table = Table::new(lines, shown.iter().map(|(_, width)| Constraint::Length(*width as u16)))
        .header(Cells::new(heads).style(QUIET))
        .column_spacing(GAP as u16)
        .row_highlight_style(CHOSEN);
    let at = view.at[view.tab as usize].min(rows.len() - 1);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(at));
}

/// What is wrong, in a line each; a second says why.
fn wrong(frame: &mut Frame<'_>, area: Rect, view: &View, data: &Data) {
    let stories = view.stories(data);
    if stories.is_empty() {
        let (text, look) = match data.is_whole {
            true => ("  Nothing is wrong.", style(Tone::Good)),
            false => ("  The cluster is being read …", QUIET),
        };
        return frame.render_widget(Line::styled(text, look), area);
    }
    let namespace = stories.iter().map(|story| story.about.namespace.chars().count()).max().unwrap_or(0);
    let columns = [Column::of("", 0), rows::NAMESPACE, Column::of("WHAT, AND WHY", 0).cut_to(40).prose()];
    let shown = fitted(&columns, &[2, namespace.max(9), usize::from(area.width)], area.width.into());
    let rows = stories.iter().map(|story| {
        let (mark, tone) = match story.severity {
            Severity::Critical => ("!!", Tone::Bad),
            Severity::Serious => ("!", Tone::Busy),
            _ => ("-", Tone::Plain),
        };
        // Where the cause is the thing itself, its evidence says more.
        let cause = match story.steps.as_slice() {
            [only] => only.evidence.first().map(|it| it.says.lines().next().unwrap_or_default().to_owned()),
            steps => steps.last().map(|step| format!("{} {}", step.about, step.says)),
        };
        let cell = |(at, width): &(usize, usize)| match at {
            0 => Cell::new(mark),
            1 => Cell::new(cut(&story.about.namespace, *width, false)),
            _ => {
                let why = cause.as_ref().map(|cause| cut(cause, width.saturating_sub(2), true));
                let why = why.map(|why| Line::styled(format!("  {why}"), QUIET));
                let what = Line::raw(cut(&story.summary, *width, true));
                Cell::new(Text::from_iter(std::iter::once(what).chain(why)))
            }
        };
        Cells::new(shown.iter().map(cell)).height(1 + u16::from(cause.is_some())).style(style(tone))
    });
    let table = Table::new(rows, shown.iter().map(|(_, width)| Constraint::Length(*width as u16)))
        .header(Cells::new(shown.iter().map(|(at, _)| columns[*at].title)).style(QUIET))
        .column_spacing(GAP as u16)
        .row_highlight_style(CHOSEN);
    let at = view.at[0].min(stories.len() - 1);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(at));
}

fn read(frame: &mut Frame<'_>, area: Rect, reading: &Reading, data: &Data) {
    let lines = reading.lines(data);
    let scroll = reading.scroll.min(lines.len().saturating_sub(1));
    let text: Vec<Line<'_>> = lines.iter().skip(scroll).map(|line| Line::raw(line.as_str())).collect();
    let block = Block::bordered().title(format!(" {} ", reading.title));
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), area);
}

fn followed(frame: &mut Frame<'_>, area: Rect, log: &Log) {
    let room = usize::from(area.height.saturating_sub(2));
    let end = log.lines.len() - log.above.min(log.lines.len());
    let mut lines: Vec<Line<'_>> = log
        .lines
        .iter()
        .take(end)
        .skip(end.saturating_sub(room))
        .map(|line| Line::raw(line.as_str()))
        .collect();
    if lines.is_empty() && log.ended.is_none() {
        lines.push(Line::styled("It has said nothing yet.", QUIET));
    }
    if let Some(ended) = log.ended.as_ref().filter(|_| log.above == 0) {
        if lines.len() >= room && !lines.is_empty() {
            lines.remove(0);
        }
        lines.push(Line::styled(ended.as_str(), QUIET));
    }
    let state = if log.above > 0 { format!(" {} lines below ", log.above) } else { String::new() };
    let title = format!(" {}/{} {} ", log.of.namespace, log.of.pod, log.of.container);
    let block = Block::bordered().title(title).title_bottom(state);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// A window in the middle, as wide and high as what is in it.
fn window(area: Rect, width: usize, height: usize) -> Rect {
    let width = u16::try_from(width + 4).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(height + 2).unwrap_or(u16::MAX).min(area.height);
    Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height)
}

fn namespaces(frame: &mut Frame<'_>, area: Rect, at: usize, data: &Data) {
    let names: Vec<&str> =
        std::iter::once("all namespaces").chain(data.namespaces.iter().map(String::as_str)).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let area = window(area, widest.max(16), names.len());
    let rows = names.iter().map(|name| Cells::new([format!(" {name}")]));
    let table = Table::new(rows, [Constraint::Min(1)])
        .block(Block::bordered().title(" Namespace "))
        .row_highlight_style(CHOSEN);
    frame.render_widget(Clear, area);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(at));
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    const KEYS: [(&str, &str); 11] = [
        ("1 2 3 4, Tab", "what is wrong, pods, nodes, events"),
        ("↑ ↓, j k", "from row to row"),
        ("PgUp PgDn, g G", "further"),
        ("Enter", "why it is as it is"),
        ("l", "the log of a pod; c: of its next container"),
        ("n", "choose a namespace"),
        ("/", "only what a label selector selects"),
        ("Esc", "back; take the selector away"),
        ("s", "sort pods by name, restarts, CPU or memory"),
        ("?", "this"),
        ("q, Ctrl-C", "leave"),
    ];
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, what)| Line::from(vec![Span::styled(format!(" {key:<16}"), STRONG), Span::raw(*what)]))
        .collect();
    let area = window(area, 62, lines.len());
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" Keys ")), area);
}
