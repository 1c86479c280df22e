//! A machine in memory: files that nobody reads but tests, and doors that answer as they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::csi_volume::Csi;
use super::ports::{
    CsiDriver, FileSet, HostError, HttpAnswer, HttpProbe, PodFile, ProbeError, Prober, ShownVolume, SubPath,
    VolumeHost, VolumeUsage,
};
use super::volumes::{EmptyDir, Files};
use crate::runtime::PodRef;

type Answer = dyn Fn(&HttpProbe) -> Result<HttpAnswer, ProbeError> + Send + Sync;

/// A [`VolumeHost`] and [`Prober`] in memory. Clones are the same machine.
#[derive(Clone, Default)]
pub struct FakeHost {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    volumes: BTreeMap<(String, String), Files>,
    groups: BTreeMap<(String, String), Option<u32>>,
    sizes: BTreeMap<(String, String), u64>,
    in_memory: BTreeSet<(String, String)>,
    given: Vec<(PathBuf, u32, bool)>,
    pod_files: BTreeMap<(String, String), Vec<u8>>,
    drivers: BTreeMap<String, CsiDriver>,
    shown: BTreeMap<(String, String), Csi>,
    grown: BTreeMap<(String, String), i64>,
    most: Option<i64>,
    holds: bool,
    http: Option<Arc<Answer>>,
    closed: bool,
}

impl FakeHost {
    /// A machine on which every probe passes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers HTTP probes from now on.
    pub fn on_http(
        &self,
        answer: impl Fn(&HttpProbe) -> Result<HttpAnswer, ProbeError> + Send + Sync + 'static,
    ) {
        self.lock().http = Some(Arc::new(answer));
    }

    /// Closes all doors for TCP and gRPC probes, or opens them.
    pub fn close(&self, closed: bool) {
        self.lock().closed = closed;
    }

    /// The files of a volume.
    pub fn volume(&self, pod_uid: &str, volume: &str) -> Option<Files> {
        self.lock().volumes.get(&(pod_uid.to_owned(), volume.to_owned())).cloned()
    }

    /// The group that a volume belongs to.
    pub fn group(&self, pod_uid: &str, volume: &str) -> Option<u32> {
        self.lock().groups.get(&(pod_uid.to_owned(), volume.to_owned())).copied().flatten()
    }

    /// Directories that were given to a group, and whether only where they were not the group's.
    pub fn given(&self) -> Vec<(PathBuf, u32, bool)> {
        self.lock().given.clone()
    }

    /// Has a driver of volumes from now on.
    pub fn install(&self, driver: CsiDriver) {
        self.lock().drivers.insert(driver.name.clone(), driver);
    }

    /// Has a driver no more.
    pub fn uninstall(&self, driver: &str) {
        self.lock().drivers.remove(driver);
    }

    /// What drivers show to a pod, by volume.
    pub fn shown(&self, pod_uid: &str) -> BTreeMap<String, Csi> {
        let state = self.lock();
        let own = state.shown.iter().filter(|((uid, _), _)| uid == pod_uid);
        own.map(|((_, volume), csi)| (volume.clone(), csi.clone())).collect()
    }

    /// To how many bytes drivers have let a pod's volume grow.
    pub fn grown(&self, pod_uid: &str, volume: &str) -> Option<i64> {
        self.lock().grown.get(&(pod_uid.to_owned(), volume.to_owned())).copied()
    }

    /// How many bytes drivers can let a volume have.
    pub fn grow_to_at_most(&self, bytes: i64) {
        self.lock().most = Some(bytes);
    }

    /// From now on no driver takes back what it shows, or they all do again.
    pub fn hold(&self, holds: bool) {
        self.lock().holds = holds;
    }

    /// Fills a volume with so many bytes, as its container would.
    pub fn fill(&self, pod_uid: &str, volume: &str, bytes: u64) {
        self.lock().sizes.insert((pod_uid.to_owned(), volume.to_owned()), bytes);
    }

    /// Writes a file of a pod, as its container would.
    pub fn write(&self, pod_uid: &str, name: &str, content: &[u8]) {
        self.lock().pod_files.insert((pod_uid.to_owned(), name.to_owned()), content.to_vec());
    }

    /// Loses all volumes and files of pods, as a machine does that comes back with an empty disk.
    pub fn wipe(&self) {
        let mut state = self.lock();
        let (http, closed, drivers) = (state.http.take(), state.closed, std::mem::take(&mut state.drivers));
        *state = State { http, closed, drivers, ..State::default() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(pod: &PodRef, rest: &str) -> PathBuf {
        Path::new("/fake/pods").join(&pod.uid).join(rest)
    }
}

impl std::fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeHost").field("volumes", &self.lock().volumes.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl VolumeHost for FakeHost {
    async fn empty_dir(
        &self,
        pod: &PodRef,
        volume: &str,
        directory: &EmptyDir,
    ) -> Result<PathBuf, HostError> {
        let mut state = self.lock();
        let key = (pod.uid.clone(), volume.to_owned());
        state.groups.insert(key.clone(), directory.group);
        if directory.memory {
            state.in_memory.insert(key.clone());
        }
        state.volumes.entry(key).or_default();
        Ok(Self::path(pod, volume))
    }

    async fn host_path(&self, path: &Path, _kind: &str) -> Result<PathBuf, HostError> {
        Ok(path.to_owned())
    }

    async fn csi(&self, pod: &PodRef, volume: &str, csi: &Csi) -> Result<PathBuf, HostError> {
        let mut state = self.lock();
        if !state.drivers.contains_key(&csi.driver) {
            return Err(HostError::Unsupported { what: "volumes of a driver that is not installed" });
        }
        state.shown.insert((pod.uid.clone(), volume.to_owned()), csi.clone());
        Ok(Self::path(pod, volume))
    }

    async fn grow(&self, pod: &PodRef, volume: &str, csi: &Csi, bytes: i64) -> Result<bool, HostError> {
        let mut state = self.lock();
        if state.most.is_some_and(|most| bytes > most) {
            return Err(HostError::Infeasible {
                who: csi.driver.clone(),
                message: "that is too much".into(),
            });
        }
        state.grown.insert((pod.uid.clone(), volume.to_owned()), bytes);
        Ok(true)
    }

    async fn csi_drivers(&self) -> Result<Vec<CsiDriver>, HostError> {
        Ok(self.lock().drivers.values().cloned().collect())
    }

    async fn csi_shown(&self) -> Result<Vec<ShownVolume>, HostError> {
        let state = self.lock();
        let shown = state.shown.iter().map(|((uid, _), csi)| ShownVolume {
            pod: uid.clone(),
            driver: csi.driver.clone(),
            handle: csi.handle.clone(),
            attached: csi.attached.is_some(),
        });
        Ok(shown.collect())
    }

    async fn take_back(&self, uid: &str) -> Result<(), HostError> {
        let mut state = self.lock();
        if state.holds && state.shown.keys().any(|(pod, _)| pod == uid) {
            return Err(HostError::Io { path: "driver".into(), message: "the volume is busy".into() });
        }
        state.shown.retain(|(pod, _), _| pod != uid);
        Ok(())
    }

    async fn give_to_group(
        &self,
        directory: &Path,
        group: u32,
        unless_root_is: bool,
    ) -> Result<(), HostError> {
        self.lock().given.push((directory.to_owned(), group, unless_root_is));
        Ok(())
    }

    async fn image_place(&self, pod: &PodRef, volume: &str) -> Result<PathBuf, HostError> {
        Ok(Self::path(pod, volume))
    }

    async fn files(&self, pod: &PodRef, volume: &str, set: &FileSet<'_>) -> Result<PathBuf, HostError> {
        let mut state = self.lock();
        let key = (pod.uid.clone(), volume.to_owned());
        state.groups.insert(key.clone(), set.group);
        state.volumes.insert(key, set.files.clone());
        Ok(Self::path(pod, volume))
    }

    async fn sub_path(&self, _pod: &PodRef, wanted: &SubPath<'_>) -> Result<PathBuf, HostError> {
        let inside = Path::new(wanted.path)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        match inside {
            true => Ok(wanted.volume.join(wanted.path)),
            false => Err(HostError::SubPathEscapes { sub_path: wanted.path.to_owned() }),
        }
    }

    async fn pod_file(&self, pod: &PodRef, file: &PodFile<'_>) -> Result<PathBuf, HostError> {
        // Empty files are what nobody reads: a hundred thousand of them need not be remembered.
        if !file.content.is_empty() {
            let mut state = self.lock();
            let key = (pod.uid.clone(), file.name.to_owned());
            if file.replace || !state.pod_files.contains_key(&key) {
                state.pod_files.insert(key, file.content.to_vec());
            }
        }
        Ok(Self::path(pod, file.name))
    }

    async fn hosts_file(&self) -> Result<String, HostError> {
        Ok("127.0.0.1\tmachine\n".to_owned())
    }

    async fn read_pod_file(&self, pod: &PodRef, name: &str, most: usize) -> Result<Vec<u8>, HostError> {
        let found =
            self.lock().pod_files.get(&(pod.uid.clone(), name.to_owned())).cloned().unwrap_or_default();
        Ok(found.into_iter().take(most).collect())
    }

    async fn usage(&self, pod: &PodRef) -> Result<Vec<VolumeUsage>, HostError> {
        let state = self.lock();
        let own = state.volumes.iter().filter(|((uid, _), _)| *uid == pod.uid);
        Ok(own
            .map(|(key, files)| {
                let content: usize = files.values().map(|file| file.data.len()).sum();
                let bytes = state.sizes.get(key).copied().unwrap_or(content as u64);
                let memory = state.in_memory.contains(key);
                VolumeUsage { volume: key.1.clone(), bytes, inodes: 1 + files.len() as u64, memory }
            })
            .collect())
    }

    async fn size_of(&self, _folder: &Path) -> Result<u64, HostError> {
        Ok(0)
    }

    async fn remove_pod(&self, uid: &str) -> Result<(), HostError> {
        self.take_back(uid).await?;
        let mut state = self.lock();
        state.volumes.retain(|(pod, _), _| pod != uid);
        state.groups.retain(|(pod, _), _| pod != uid);
        state.pod_files.retain(|(pod, _), _| pod != uid);
        Ok(())
    }

    async fn pods(&self) -> Result<Vec<String>, HostError> {
        let state = self.lock();
        let volumes = state.volumes.keys().chain(state.pod_files.keys()).chain(state.shown.keys());
        let uids: BTreeSet<String> = volumes.map(|(uid, _)| uid.clone()).collect();
        Ok(uids.into_iter().collect())
    }
}

#[async_trait]
impl Prober for FakeHost {
    async fn http(&self, request: &HttpProbe) -> Result<HttpAnswer, ProbeError> {
        let answer = self.lock().http.clone();
        match answer {
            Some(answer) => answer(request),
            None => Ok(HttpAnswer { status: 200, body: String::new() }),
        }
    }

    async fn tcp(&self, address: SocketAddr, _timeout: Duration) -> Result<(), ProbeError> {
        match self.lock().closed {
            false => Ok(()),
            true => Err(ProbeError::Connect {
                message: format!("dial tcp {address}: connect: connection refused"),
            }),
        }
    }

    async fn grpc(&self, address: SocketAddr, _service: &str, timeout: Duration) -> Result<bool, ProbeError> {
        self.tcp(address, timeout).await.map(|()| true)
    }
}
