//! The guardian as a process: how it gets ready.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::signal::SigSet;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::setsid;

use quiesced_core::time::BootTime;

use super::watch::Watch;
use super::wire::{Command, LENGTH, Report};
use super::worker::{Line, Stage, Worker};
use crate::target::{Directory, Filesystem};

/// Enough for the worker's few frames; locked in memory for each target, so it must not be the usual 2 MiB.
const STACK: usize = 64 * 1024;

/// A filesystem with its rank.
pub(super) type Ranked = (u16, Arc<dyn Filesystem>);

/// The whole life of the guardian process. Its socket is its standard input.
///
/// It leaves the agent's session and blocks every signal that can be blocked, so that whatever ends the agent does not
/// end it: only the end of file on its socket does, after everything is thawed.
///
/// # Errors
/// When the agent does not send what it should, or the process cannot be made safe.
pub fn main() -> Result<(), Errno> {
    SigSet::all().thread_block()?;
    // EPERM when the process leads a group already; then it is on its own already.
    let _leader = setsid();
    // The kernel's out-of-memory killer must look elsewhere; without the privilege this is not a reason to fail.
    let _best_effort = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(|_| Errno::EBADF)?;
    let (targets, lease_ends) = receive(&socket)?;
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
        .map_err(|errno| refuse(&socket, errno))?;
    watch(socket, targets, lease_ends)
}

/// Gets the threads and the timer ready, says so, and watches.
pub(super) fn watch(socket: OwnedFd, targets: Vec<Ranked>, lease_ends: BootTime) -> Result<(), Errno> {
    let progress = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    let timer = timer(lease_ends).map_err(|errno| refuse(&socket, errno))?;
    let line = Arc::new(Line::new(socket, progress));
    let mut workers = Vec::with_capacity(targets.len());
    for (target, (rank, filesystem)) in targets.into_iter().enumerate() {
        let target = u16::try_from(target).map_err(|_| Errno::E2BIG)?;
        let worker = Arc::new(Worker::new(target, rank, filesystem, Arc::clone(&line)));
        let own = Arc::clone(&worker);
        let thread = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || own.work())
            .map_err(|_| refuse(line.socket(), Errno::EAGAIN))?;
        workers.push((worker, thread));
    }
    // A thread's start allocates. It is over when the thread has come as far as its own work.
    while workers.iter().any(|(worker, _)| worker.stage() == Stage::Starting) {
        thread::yield_now();
    }
    line.report(Report::Armed);
    Watch::new(line, timer, workers).run();
    Ok(())
}

/// The kernel keeps the lease: a timer on the boot clock goes on while the host is suspended, and fires at once for a
/// time that has passed.
fn timer(lease_ends: BootTime) -> Result<TimerFd, Errno> {
    let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    let nanos = lease_ends.as_nanos().max(1);
    let seconds = i64::try_from(nanos / 1_000_000_000).map_err(|_| Errno::EINVAL)?;
    let rest = i64::try_from(nanos % 1_000_000_000).map_err(|_| Errno::EINVAL)?;
    let end = Expiration::OneShot(TimeSpec::new(seconds, rest));
    timer.set(end, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    Ok(timer)
}

fn refuse(socket: &OwnedFd, errno: Errno) -> Errno {
    let bytes = Report::NotArmed(errno).encode();
    // The agent also understands the end of file that follows.
    let _lost = nix::sys::socket::send(socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL);
    errno
}

fn receive(socket: &OwnedFd) -> Result<(Vec<Ranked>, BootTime), Errno> {
    let mut targets: Vec<Ranked> = Vec::new();
    loop {
        match receive_one(socket)? {
            (Some(Command::Target { rank, st_dev }), Some(fd)) => {
                targets.push((rank, Arc::new(Directory::received(fd, st_dev))));
            }
            (Some(Command::Arm { lease_ends }), None) => return Ok((targets, lease_ends)),
            _ => return Err(Errno::EPROTO),
        }
    }
}

fn receive_one(socket: &OwnedFd) -> Result<(Option<Command>, Option<OwnedFd>), Errno> {
    let mut bytes = [0; LENGTH];
    let mut iov = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
    let length = message.bytes;
    let mut received = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            received = fds.first().map(|fd| own(*fd));
        }
    }
    Ok((Command::decode(&bytes[..length]), received))
}

#[allow(unsafe_code, reason = "SCM_RIGHTS hands over a plain number")]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for this message, so nobody else owns it.
    OwnedFd::from(unsafe { File::from_raw_fd(fd) })
}
