//! Containers as runc takes them: a bundle made of what a pod says and of its image, the root that goes with it, and how the
//! process in it is started. The shim of `process` starts what is described here; `native` describes it.

use orchestra_core::runtime::RuntimeError;

pub(crate) mod bundle;
mod capabilities;
pub(crate) mod machine;
pub(crate) mod own_users;
pub(crate) mod rootfs;
pub(crate) mod runc;
mod seccomp;
pub(crate) mod start;
pub(crate) mod user;

fn invalid(message: String) -> RuntimeError {
    RuntimeError::InvalidSpec { message }
}
