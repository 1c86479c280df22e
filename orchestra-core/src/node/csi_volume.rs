//! What is known of a volume of a driver of the Container Storage Interface where it is shown.

use std::collections::BTreeMap;
use std::fmt;

/// A volume of a driver of the Container Storage Interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Csi {
    /// The driver's name.
    pub driver: String,
    /// Which of its volumes.
    pub handle: String,
    /// It is given to containers as a device, without files.
    pub block: bool,
    /// The kind of file system; empty leaves it to the driver.
    pub fs_type: String,
    /// It cannot be written.
    pub read_only: bool,
    /// What the driver wants to know of it.
    pub attributes: BTreeMap<String, String>,
    /// Options of its mount.
    pub mount_options: Vec<String>,
    /// By how many it is used, in the words of the API: `ReadWriteOnce` …
    pub access_mode: String,
    /// It is made for one pod, and goes with it.
    pub ephemeral: bool,
    /// It was attached to the node first, with what whoever did so says of it.
    pub attached: Option<BTreeMap<String, String>>,
    /// Whom its files belong to, where the pod says.
    pub group: Option<CsiGroup>,
    /// What the driver is told in confidence.
    pub secrets: CsiSecrets,
}

/// The group of a pod's volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsiGroup {
    /// The group.
    pub id: u32,
    /// Files are given to it one by one, if the driver does not see to it by itself.
    pub by_file: bool,
    /// And only if the root of the volume is not its already.
    pub unless_root_is: bool,
}

/// What a driver is told in confidence, at each of its calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CsiSecrets {
    /// When it makes a volume ready on the node.
    pub stage: Confidential,
    /// When it shows it to a pod.
    pub publish: Confidential,
    /// When it lets it have more room.
    pub expand: Confidential,
}

/// Words that nobody is shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Confidential(pub BTreeMap<String, String>);

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
