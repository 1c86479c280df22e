//! How little may be left of the machine before pods are evicted, as the kubelet's `--eviction-hard` has it; pure.

use std::fmt;
use std::str::FromStr;

use crate::quantity::Quantity;
use crate::runtime::MachineStats;

/// What the kubelet begins to evict at when nothing else is said.
const USUAL: [(Signal, Amount); 4] = [
    (Signal::Memory, Amount::Number(100 << 20)),
    (Signal::Disk, Amount::Percent(10.0)),
    (Signal::ImageDisk, Amount::Percent(15.0)),
    (Signal::Inodes, Amount::Percent(5.0)),
];

/// How little of memory, disk and processes may be left before pods are evicted.
///
/// It is written as for the kubelet: `memory.available<100Mi,nodefs.available<10%`, and nothing for never. The default is
/// the kubelet's.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds(Vec<(Signal, Amount)>);

impl Thresholds {
    /// Nothing is ever too little.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// What there is too little of, with how much is left and how much should be.
    pub(super) fn met(&self, stats: &MachineStats) -> impl Iterator<Item = (Signal, u64, u64)> {
        self.0.iter().filter_map(|(signal, amount)| {
            let (left, all) = signal.figures(stats);
            let least = amount.of(all);
            (left < least).then_some((*signal, left, least))
        })
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self(USUAL.to_vec())
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Memory that can still be had.
    Memory,
    /// Bytes of the disk that can still be written.
    Disk,
    /// The same of the disk of the images, which is the same disk here.
    ImageDisk,
    /// Inodes of the disk that are free.
    Inodes,
    /// Processes that can still be started.
    Processes,
}

impl Signal {
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Memory, "memory.available"),
        (Self::Disk, "nodefs.available"),
        (Self::ImageDisk, "imagefs.available"),
        (Self::Inodes, "nodefs.inodesFree"),
        (Self::Inodes, "imagefs.inodesFree"),
        (Self::Processes, "pid.available"),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(signal, _)| *signal == self).map_or("", |(_, name)| name)
    }

    /// How much is left, and how much there is.
    fn figures(self, stats: &MachineStats) -> (u64, u64) {
        match self {
            Self::Memory => {
                let available = stats.memory_available_bytes;
                (available, available.saturating_add(stats.memory_working_set_bytes))
            }
            Self::Disk | Self::ImageDisk => (stats.disk.available_bytes, stats.disk.capacity_bytes),
            Self::Inodes => (stats.disk.inodes_free, stats.disk.inodes),
            Self::Processes => (stats.most_processes.saturating_sub(stats.processes), stats.most_processes),
        }
    }
}

/// How much should be left.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Amount {
    Number(u64),
    /// In hundredths of all that there is.
    Percent(f64),
}

impl Amount {
    fn of(self, all: u64) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => (all as f64 * percent / 100.0) as u64,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(number) => {
                number.parse().ok().filter(|number| (0.0..100.0).contains(number)).map(Self::Percent)
            }
            None => Some(Self::Number(u64::try_from(Quantity::parse(text).ok()?.value()).ok()?)),
        }
    }
}

/// What is no threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a threshold such as memory.available<100Mi or nodefs.available<10%")]
pub struct ThresholdError(String);

impl FromStr for Thresholds {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let read = |one: &str| {
            let (name, amount) = one.split_once('<')?;
            let (signal, _) = Signal::NAMES.into_iter().find(|(_, known)| *known == name)?;
            Some((signal, Amount::parse(amount)?))
        };
        let each = text.split(',').filter(|one| !one.is_empty());
        let all: Result<Vec<_>, _> =
            each.map(|one| read(one.trim()).ok_or_else(|| ThresholdError(one.to_owned()))).collect();
        all.map(Self)
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (signal, amount)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match amount {
                Amount::Number(number) => write!(f, "{comma}{}<{number}", signal.name())?,
                Amount::Percent(percent) => write!(f, "{comma}{}<{percent}%", signal.name())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_written_as_for_the_kubelet() {
        let usual = "memory.available<100Mi,nodefs.available<10%,imagefs.available<15%,nodefs.inodesFree<5%";
        assert_eq!(usual.parse(), Ok(Thresholds::default()));
        assert_eq!("".parse(), Ok(Thresholds::none()));
        for text in ["pid.available<500", "imagefs.available<12.5%,memory.available<1048576"] {
            assert_eq!(text.parse::<Thresholds>().unwrap().to_string(), text);
        }
        for text in [
            "memory",
            "memory.available>1Mi",
            "swap<1",
            "memory.available<x",
            "nodefs.available<101%",
            "memory.available<-1",
        ] {
            assert!(text.parse::<Thresholds>().is_err(), "{text}");
        }
    }
}
