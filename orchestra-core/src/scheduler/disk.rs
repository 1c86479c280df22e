//! Disks that pods name themselves, of kinds that several pods may only read at once.

use super::view::{DiskView, VolumeView};

/// A disk of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    which: Which,
    read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    Gce(String),
    Aws(String),
    Iscsi(String),
    Rbd { monitors: Vec<String>, pool: String, image: String },
}

impl Disk {
    /// The disk that a volume is, if it is one of these.
    pub(super) fn of(volume: &VolumeView) -> Option<Self> {
        let with = |which: fn(&DiskView) -> Which, disk: &DiskView| Self {
            which: which(disk),
            read_only: disk.read_only,
        };
        if let Some(disk) = &volume.gce_persistent_disk {
            return Some(with(|disk| Which::Gce(disk.pd_name.clone()), disk));
        }
        if let Some(disk) = &volume.aws_elastic_block_store {
            // Whoever reads it keeps others from it too.
            let which = Which::Aws(disk.volume_id.clone());
            return Some(Self { which, read_only: false });
        }
        if let Some(disk) = &volume.iscsi {
            return Some(with(|disk| Which::Iscsi(disk.iqn.clone()), disk));
        }
        let rbd = |disk: &DiskView| Which::Rbd {
            monitors: disk.monitors.clone(),
            pool: disk.pool.clone(),
            image: disk.image.clone(),
        };
        volume.rbd.as_ref().map(|disk| with(rbd, disk))
    }

    /// Whether both cannot be had on one node.
    pub(crate) fn conflicts_with(&self, other: &Self) -> bool {
        self.which.is(&other.which) && !(self.read_only && other.read_only)
    }
}

impl Which {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Rbd { monitors, pool, image },
                Self::Rbd { monitors: others, pool: other_pool, image: other_image },
            ) => pool == other_pool && image == other_image && monitors.iter().any(|it| others.contains(it)),
            _ => self == other,
        }
    }
}
