//! A second process of the helper: what is to live in a namespace of processes must be born in it.

use std::io;

use rustix::process::Pid;

/// Which of the two we are.
pub(super) enum Fork {
    /// The one that was there before, and the other's number.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Makes a copy of this process. Only in the helper, and only before it has threads.
#[allow(unsafe_code, reason = "fork(2) has no safe wrapper, for the sake of locks that other threads hold")]
pub(super) fn fork() -> io::Result<Fork> {
    // SAFETY: the helper has one thread, so nothing is in the hands of a thread that is not copied.
    let number = unsafe { libc::fork() };
    match number {
        0 => Ok(Fork::Child),
        number => Pid::from_raw(number)
            .filter(|_| number > 0)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Closes every descriptor but the standard ones: whatever the program that embeds us has open (a store, a socket) is
/// nothing for containers. Only at the very beginning, before anything of ours is open.
#[allow(unsafe_code, reason = "close_range(2) has no safe wrapper, as it closes what others may own")]
pub(super) fn close_inherited() {
    // SAFETY: nothing of this program is open yet but the standard streams.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    if closed == 0 {
        return;
    }
    // A kernel before 5.9.
    for number in
        3..rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024).min(65_536)
    {
        // SAFETY: as above.
        unsafe { libc::close(number as libc::c_int) };
    }
}
