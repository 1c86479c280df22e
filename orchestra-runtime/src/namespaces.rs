//! How a process of one thread leaves the namespaces that it is in.

use std::io;

use rustix::thread::UnshareFlags;

/// Leaves namespaces for new ones. Never called with `FILES`.
#[allow(
    unsafe_code,
    reason = "unshare(2) has no safe wrapper, for the sake of CLONE_FILES, which is not used here"
)]
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    let flags = flags.difference(UnshareFlags::FILES);
    // SAFETY: without FILES no descriptor changes its meaning for any thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}
