//! What happened to a cluster, as a file: recorded by watches, and lived again in virtual time with other nodes or another
//! scheduler.
//!
//! A trace is lines of JSON: what it is, and then each object that came, changed or went, with the milliseconds since it
//! began. Each line is whole once it is written, so a trace that was cut off is read up to its last whole line. Of objects
//! no more is kept than placing depends on: no environment, no arguments, no annotations, no Secrets and ConfigMaps at all.
//!
//! ```
//! use orchestra_core::simulation::{Replay, Trace};
//!
//! let text = r#"{"trace":"orchestra","version":1,"at":"2026-01-01T00:00:00Z"}
//! {"ms":0,"kind":"nodes","put":{"metadata":{"name":"a"},"status":{"allocatable":{"cpu":"2","memory":"4Gi","pods":"10"},"conditions":[{"type":"Ready","status":"True"}]}}}
//! {"ms":1000,"kind":"pods","put":{"metadata":{"namespace":"default","name":"web","uid":"1"},"spec":{"containers":[{"name":"web","image":"web"}]}}}
//! "#;
//! let trace = Trace::read(text.as_bytes()).unwrap();
//! let lived = Replay::new().run(&trace).unwrap();
//! assert_eq!(lived.figures.pods_placed, 1);
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `trim` | what of an object is kept; pure |
//! | `record` | a trace of a cluster that runs |
//! | `figures` | how well pods were placed; pure |
//! | `replay`, `again`, `watched` | a trace, lived again |
//! | `groups` | nodes of which there are more or fewer, as pods need them |
//! | `error` | why it cannot be |
//! | `load` | what pods had to do, for autoscalers of theirs |

mod again;
mod error;
mod figures;
mod groups;
mod load;
mod record;
mod replay;
mod trim;
mod watched;

use std::io::{self, BufRead, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use error::ReplayError;
pub use figures::{Figures, Share, Times};
pub use record::record;
pub use replay::{Replay, Replayed};

/// The version of the format.
const VERSION: u32 = 1;
/// What its first line calls it.
const NAME: &str = "orchestra";
/// The kind of autoscalers of pods.
const HPA: &str = "horizontalpodautoscalers.autoscaling";
/// What is written in the place of a kind when the recording ends, so that it is as long as it was.
const END: &str = "end";

#[derive(Serialize, Deserialize)]
struct Header {
    trace: String,
    version: u32,
    at: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
}

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// When, in milliseconds since the trace began; what was there then is at 0.
    pub ms: u64,
    /// The kind, such as `deployments.apps`.
    pub kind: String,
    /// The object as it was from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<Value>,
    /// The object that went: its metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Value>,
}

impl TraceEvent {
    /// The object that it is about.
    pub fn object(&self) -> &Value {
        self.put.as_ref().or(self.gone.as_ref()).unwrap_or(&Value::Null)
    }
}

/// What happened to a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// When it began.
    pub at: Timestamp,
    /// What happened, in its order.
    pub events: Vec<TraceEvent>,
    /// The kinds that could not be followed.
    pub unread: Vec<String>,
    /// When the recording ended, in milliseconds since it began, if it was not cut off.
    pub ended: Option<u64>,
    /// Whether its last line was cut off.
    pub is_cut_off: bool,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    #[error("the trace cannot be read")]
    Read(#[source] io::Error),
    /// It begins otherwise than traces do.
    #[error("this is no trace")]
    NotOne,
    /// It is of another version.
    #[error("the trace is of version {0}; version {VERSION} is read here")]
    Version(u32),
    /// A line in the middle is broken.
    #[error("line {line} of the trace is broken")]
    Line {
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Trace {
    /// Reads a trace. A last line that was cut off is left out.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn read(mut from: impl BufRead) -> Result<Self, TraceError> {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line).map_err(TraceError::Read)?;
        let header: Header = serde_json::from_slice(&line).map_err(|_| TraceError::NotOne)?;
        let at = header.at.parse().map_err(|_| TraceError::NotOne)?;
        match (&*header.trace, header.version) {
            (NAME, VERSION) => {}
            (NAME, other) => return Err(TraceError::Version(other)),
            _ => return Err(TraceError::NotOne),
        }
        let mut trace =
            Self { at, events: Vec::new(), unread: header.unread, ended: None, is_cut_off: false };
        for number in 2.. {
            line.clear();
            if from.read_until(b'\n', &mut line).map_err(TraceError::Read)? == 0 {
                break;
            }
            match serde_json::from_slice::<TraceEvent>(&line) {
                Ok(event) if event.kind == END => trace.ended = Some(event.ms),
                Ok(event) => trace.events.push(event),
                Err(_) if line.last() != Some(&b'\n') => trace.is_cut_off = true,
                Err(source) => return Err(TraceError::Line { line: number, source }),
            }
        }
        Ok(trace)
    }

    /// How long it is, in milliseconds.
    pub fn length(&self) -> u64 {
        self.events.last().map(|event| event.ms).max(self.ended).unwrap_or(0)
    }

    /// How well its pods were placed, as they were.
    pub fn figures(&self) -> Figures {
        let mut observed = figures::Observed::default();
        for event in &self.events {
            observed.see(event);
        }
        observed.figures(self.length())
    }
}

/// Writes a trace, line by line: each is handed on at once.
#[derive(Debug)]
pub struct TraceWriter<W> {
    to: W,
}

impl<W: Write> TraceWriter<W> {
    /// Begins a trace of a cluster as of a time of day, of which some kinds are not followed.
    ///
    /// # Errors
    /// What the writer says.
    pub fn begin(to: W, at: Timestamp, unread: &[String]) -> io::Result<Self> {
        let mut writer = Self { to };
        let header =
            Header { trace: NAME.into(), version: VERSION, at: at.to_string(), unread: unread.to_vec() };
        writer.line(&header)?;
        Ok(writer)
    }

    /// Writes what happened.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&mut self, event: &TraceEvent) -> io::Result<()> {
        self.line(event)
    }

    /// Writes that the recording ended after so many milliseconds.
    ///
    /// # Errors
    /// What the writer says.
    pub fn end(&mut self, ms: u64) -> io::Result<()> {
        self.line(&TraceEvent { ms, kind: END.into(), put: None, gone: None })
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.to.write_all(&bytes)?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written() -> (Vec<u8>, Vec<TraceEvent>) {
        let pod = json!({"metadata": {"namespace": "a", "name": "é"}});
        let put = |ms: u64| TraceEvent { ms, kind: "pods".into(), put: Some(pod.clone()), gone: None };
        let events = vec![
            put(0),
            put(7),
            TraceEvent { ms: 9, kind: "pods".into(), put: None, gone: Some(pod.clone()) },
        ];
        let mut bytes = Vec::new();
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut writer = TraceWriter::begin(&mut bytes, at, &["nodes".into()]).unwrap();
        events.iter().for_each(|event| writer.write(event).unwrap());
        (bytes, events)
    }

    #[test]
    fn a_trace_is_read_as_it_was_written_wherever_it_is_cut_off() {
        let (bytes, events) = written();
        let whole = Trace::read(&*bytes).unwrap();
        assert_eq!((&whole.events, whole.is_cut_off, whole.length()), (&events, false, 9));
        assert_eq!(
            (whole.unread, whole.at.to_string()),
            (vec!["nodes".to_owned()], "2026-01-01T00:00:00Z".into())
        );
        let header = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for end in header..bytes.len() {
            let cut = Trace::read(&bytes[..end]).unwrap();
            let lines = bytes[header..end].iter().filter(|byte| **byte == b'\n').count();
            // A line that lacks nothing but its end is whole.
            assert!(cut.events.len() == lines || cut.events.len() == lines + 1, "{end}");
            assert_eq!(cut.events, events[..cut.events.len()], "{end}");
        }
    }

    #[test]
    fn a_trace_is_as_long_as_its_recording() {
        let (mut bytes, events) = written();
        TraceWriter { to: &mut bytes }.end(75_000).unwrap();
        let trace = Trace::read(&*bytes).unwrap();
        assert_eq!((trace.events.as_slice(), trace.ended, trace.length()), (&*events, Some(75_000), 75_000));
    }

    #[test]
    fn what_is_no_trace_is_told_so() {
        let read = |text: &str| Trace::read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(read(""), "this is no trace");
        assert_eq!(read("{}\n"), "this is no trace");
        let later = "{\"trace\":\"orchestra\",\"version\":9,\"at\":\"2026-01-01T00:00:00Z\"}\n";
        assert_eq!(read(later), "the trace is of version 9; version 1 is read here");
        let broken = format!("{}oops\n{{\"ms\":1,\"kind\":\"pods\"}}\n", later.replace('9', "1"));
        assert_eq!(read(&broken), "line 2 of the trace is broken");
    }
}
