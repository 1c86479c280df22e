//! What other parts count by themselves, and is looked up when somebody asks for metrics.

use orchestra_core::access::flow_control::{FlowControl, LevelFigures};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::audit::Audit;

/// What was written down of requests.
#[derive(Debug)]
pub(crate) struct Audited(pub(crate) Audit);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Plugin {
    plugin: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Leveled {
    level: &'static str,
}

impl Collector for Audited {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = MetricType::Counter;
        let events = ConstCounter::new(self.0.events());
        events.encode(encoder.encode_descriptor(
            "apiserver_audit_event",
            "Audit events",
            None,
            counter,
        )?)?;
        let errors: Family<Plugin, Counter> = Family::default();
        for (plugin, dropped) in self.0.dropped() {
            errors.get_or_create(&Plugin { plugin }).inc_by(dropped);
        }
        let what = "Audit events that could not be kept";
        errors.encode(encoder.encode_descriptor("apiserver_audit_error", what, None, counter)?)?;
        let levels: Family<Leveled, Counter> = Family::default();
        for (level, count) in self.0.levels() {
            levels.get_or_create(&Leveled { level }).inc_by(count);
        }
        let what = "Requests, by how much of them is written down";
        levels.encode(encoder.encode_descriptor("apiserver_audit_level", what, None, counter)?)
    }
}

/// Who was let in, and who waits.
#[derive(Debug)]
pub(crate) struct Flows(pub(crate) FlowControl);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Level {
    priority_level: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Dispatched {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rejected {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

/// A figure of a level: what it is called, what it says, and which it is.
type Figure = (&'static str, &'static str, fn(&LevelFigures) -> u32);

const FIGURES: [Figure; 5] = [
    ("current_executing_requests", "Requests that run, by level of priority", |level| level.running),
    ("current_executing_seats", "Seats that are taken, by level of priority", |level| level.running_seats),
    ("current_inqueue_requests", "Requests that wait, by level of priority", |level| level.waiting),
    ("current_limit_seats", "Seats that a level has for now", |level| level.limit),
    ("nominal_limit_seats", "Seats that are a level's own", |level| level.nominal),
];

impl Collector for Flows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let levels = self.0.levels();
        for (name, what, figure) in FIGURES {
            let gauges: Family<Level, Gauge> = Family::default();
            for level in &levels {
                let priority_level = level.name.to_string();
                gauges.get_or_create(&Level { priority_level }).set(figure(level).into());
            }
            let name = format!("apiserver_flowcontrol_{name}");
            gauges.encode(encoder.encode_descriptor(&name, what, None, MetricType::Gauge)?)?;
        }
        let (dispatched, rejected): (Family<Dispatched, Counter>, Family<Rejected, Counter>) =
            Default::default();
        for schema in self.0.schemas() {
            let (priority_level, flow_schema) = (schema.level.to_string(), schema.name.to_string());
            let of = Dispatched { priority_level: priority_level.clone(), flow_schema: flow_schema.clone() };
            dispatched.get_or_create(&of).inc_by(schema.dispatched);
            for (reason, count) in schema.rejected.into_iter().filter(|(_, count)| *count > 0) {
                let reason = reason.as_str();
                let (priority_level, flow_schema) = (priority_level.clone(), flow_schema.clone());
                rejected.get_or_create(&Rejected { priority_level, flow_schema, reason }).inc_by(count);
            }
        }
        let counter = MetricType::Counter;
        let what = "Requests that were let in";
        let name = "apiserver_flowcontrol_dispatched_requests";
        dispatched.encode(encoder.encode_descriptor(name, what, None, counter)?)?;
        let what = "Requests that were not let in, and why";
        rejected.encode(encoder.encode_descriptor(
            "apiserver_flowcontrol_rejected_requests",
            what,
            None,
            counter,
        )?)
    }
}
