//! When bytes arrived in a socket, by the kernel's stamp: however late this generator reads them.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns,
};
use nix::sys::time::TimeSpec;
use rustix::fd::OwnedFd;
use rustix::io::{Errno, Result};

use crate::os::{now_ns, wall_ns};

/// Has the kernel stamp what arrives.
pub(super) fn ask(fd: &OwnedFd) -> Result<()> {
    setsockopt(fd, ReceiveTimestampns, &true).map_err(errno)
}

/// Reads; bytes, and the monotonic time when the last of them arrived, or now without a stamp.
pub(super) fn recv(fd: &OwnedFd, room: &mut [u8]) -> Result<(usize, u64)> {
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut room = [IoSliceMut::new(room)];
    let message = recvmsg::<()>(
        fd.as_raw_fd(),
        &mut room,
        Some(&mut space),
        MsgFlags::empty(),
    )
    .map_err(errno)?;
    let (now, wall) = (now_ns(), wall_ns());
    let stamp = message.cmsgs().map_err(errno)?.find_map(|c| match c {
        ControlMessageOwned::ScmTimestampns(at) => Some(at),
        _ => None,
    });

    let at = stamp.map_or(now, |at| {
        let at = at.tv_sec() as u64 * 1_000_000_000 + at.tv_nsec() as u64;
        now.saturating_sub(wall.saturating_sub(at))
    });

    Ok((message.bytes, at))
}

fn errno(error: nix::Error) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
