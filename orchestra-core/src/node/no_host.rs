//! A machine that offers neither a place for volumes nor a way to probe, and says so.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::ports::{
    FileSet, HostError, HttpAnswer, HttpProbe, PodFile, ProbeError, Prober, SubPath, VolumeHost, VolumeUsage,
};
use super::volumes::EmptyDir;
use crate::runtime::PodRef;

/// What an agent works with until it is given something better.
pub(super) struct NoHost;

fn nothing<T>(what: &'static str) -> Result<T, HostError> {
    Err(HostError::Unsupported { what })
}

#[async_trait]
impl VolumeHost for NoHost {
    async fn empty_dir(&self, _: &PodRef, _: &str, _: &EmptyDir) -> Result<PathBuf, HostError> {
        nothing("emptyDir volumes")
    }

    async fn host_path(&self, _: &Path, _: &str) -> Result<PathBuf, HostError> {
        nothing("hostPath volumes")
    }

    async fn files(&self, _: &PodRef, _: &str, _: &FileSet<'_>) -> Result<PathBuf, HostError> {
        nothing("volumes with files")
    }

    async fn sub_path(&self, _: &PodRef, _: &SubPath<'_>) -> Result<PathBuf, HostError> {
        nothing("sub paths")
    }

    async fn pod_file(&self, _: &PodRef, _: &PodFile<'_>) -> Result<PathBuf, HostError> {
        nothing("files of pods")
    }

    async fn read_pod_file(&self, _: &PodRef, _: &str, _: usize) -> Result<Vec<u8>, HostError> {
        nothing("files of pods")
    }

    async fn usage(&self, _: &PodRef) -> Result<Vec<VolumeUsage>, HostError> {
        Ok(Vec::new())
    }

    async fn size_of(&self, _: &Path) -> Result<u64, HostError> {
        Ok(0)
    }

    async fn remove_pod(&self, _: &str) -> Result<(), HostError> {
        Ok(())
    }

    async fn pods(&self) -> Result<Vec<String>, HostError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Prober for NoHost {
    async fn http(&self, _: &HttpProbe) -> Result<HttpAnswer, ProbeError> {
        Err(ProbeError::Unsupported { what: "http" })
    }

    async fn tcp(&self, _: SocketAddr, _: Duration) -> Result<(), ProbeError> {
        Err(ProbeError::Unsupported { what: "tcp" })
    }
}
