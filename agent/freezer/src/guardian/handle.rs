//! The agent's end of the guardian's socket.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, send, sendmsg, setsockopt, socketpair,
    sockopt::SendTimeout,
};
use nix::sys::time::TimeVal;

use quiesced_core::time::BootTime;

use super::child::{Ranked, watch};
use super::wire::{Command, LENGTH, Report};
use crate::process::ProcessId;
use crate::target::{Directory, Filesystem};

/// A guardian that is not ready by then never will be: it takes a few milliseconds.
const ARM_LIMIT: Duration = Duration::from_secs(2);

/// One filesystem to be guarded, with its rank: rank 0 is frozen first and thawed last.
#[derive(Debug)]
pub struct Target<F> {
    /// The filesystem. The agent keeps it too, and can thaw it without the guardian.
    pub filesystem: Arc<F>,
    /// Its rank.
    pub rank: u16,
}

impl<F> Clone for Target<F> {
    /// Another handle of the same filesystem.
    fn clone(&self) -> Self {
        Self { filesystem: Arc::clone(&self.filesystem), rank: self.rank }
    }
}

/// Why a guardian could not be armed. Nothing is held then.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// The process could not be started, or not be told what to guard.
    #[error("the guardian cannot be started")]
    Start(#[source] io::Error),
    /// It could not make itself safe.
    #[error("the guardian cannot get ready: {0}")]
    NotReady(Errno),
    /// It ended, or said something unexpected.
    #[error("the guardian ended before it was ready")]
    Ended,
    /// It did not answer.
    #[error("the guardian did not get ready within 2 s")]
    Late,
}

impl ArmError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotReady(Errno::ENOMEM | Errno::EPERM) => {
                "give the agent CAP_IPC_LOCK and `LimitMEMLOCK=infinity`: `systemctl edit quiesced`"
            }
            Self::NotReady(_) | Self::Start(_) => {
                "look at `systemctl status quiesced` for limits of the service"
            }
            Self::Ended | Self::Late => "look at `journalctl -k` for what ended or stopped it",
        }
    }
}

/// The guardian cannot be reached: it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guardian has ended")]
pub struct Lost;

/// An armed guardian. Dropping it closes its socket, which makes it thaw everything and end.
#[derive(Debug)]
pub struct Guardian {
    socket: OwnedFd,
    keeper: Keeper,
}

#[derive(Debug)]
enum Keeper {
    Process(Option<Child>),
    Thread,
}

impl Guardian {
    /// Starts a guardian process (`program guardian`), hands it the targets and waits until it is armed. Blocks for up
    /// to two seconds.
    ///
    /// # Errors
    /// When it cannot be started or cannot make itself safe.
    pub fn arm(
        program: &Path,
        targets: &[Target<Directory>],
        lease_ends: BootTime,
    ) -> Result<Self, ArmError> {
        let (socket, theirs) = pair()?;
        let child = Process::new(program)
            .arg0("quiesced")
            .arg("guardian")
            .env_clear()
            // glibc reserves 64 MiB for each thread that allocates, and locked memory counts what is reserved.
            .env("MALLOC_ARENA_MAX", "1")
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ArmError::Start)?;
        let guardian = Self { socket, keeper: Keeper::Process(Some(child)) };
        let limit = TimeVal::new(ARM_LIMIT.as_secs().cast_signed(), 0);
        setsockopt(&guardian.socket, SendTimeout, &limit).map_err(start)?;
        for target in targets {
            let command = Command::Target { rank: target.rank, st_dev: target.filesystem.st_dev() };
            guardian.tell_with(command, target.filesystem.as_fd()).map_err(|errno| match errno {
                Errno::EAGAIN => ArmError::Late,
                errno => start(errno),
            })?;
        }
        guardian.tell(Command::Arm { lease_ends }).map_err(start)?;
        guardian.await_armed()
    }

    /// Runs a guardian in a thread of this process: the same event loop, without a process and without locked memory.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn simulate<F>(targets: &[Target<F>], lease_ends: BootTime) -> Result<Self, ArmError>
    where
        F: Filesystem + 'static,
    {
        let (socket, theirs) = pair()?;
        let targets: Vec<Ranked> = targets
            .iter()
            .map(|target| (target.rank, Arc::clone(&target.filesystem) as Arc<dyn Filesystem>))
            .collect();
        thread::Builder::new()
            .spawn(move || {
                // It reports its errors over the socket.
                let _reported = watch(theirs, targets, lease_ends);
            })
            .map_err(ArmError::Start)?;
        Self { socket, keeper: Keeper::Thread }.await_armed()
    }

    /// The guardian's process; none when it is simulated.
    pub fn process(&self) -> Option<ProcessId> {
        match &self.keeper {
            Keeper::Process(Some(child)) => ProcessId::of(i32::try_from(child.id()).ok()?),
            Keeper::Process(None) | Keeper::Thread => None,
        }
    }

    /// Orders the freeze of every target. Reports follow.
    ///
    /// # Errors
    /// When the guardian has ended.
    pub fn freeze(&self) -> Result<(), Lost> {
        self.tell(Command::Freeze).map_err(|_| Lost)
    }

    /// Orders the thaw of every target. Reports follow.
    ///
    /// # Errors
    /// When the guardian has ended.
    pub fn thaw(&self) -> Result<(), Lost> {
        self.tell(Command::Thaw).map_err(|_| Lost)
    }

    /// The next report, without waiting for one.
    ///
    /// # Errors
    /// When the guardian has ended.
    pub fn try_recv(&self) -> Result<Option<Report>, Lost> {
        let mut bytes = [0; LENGTH];
        match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Ok(length) => Report::decode(&bytes[..length]).map(Some).ok_or(Lost),
            Err(_) => Err(Lost),
        }
    }

    fn await_armed(self) -> Result<Self, ArmError> {
        let end = Instant::now() + ARM_LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
                Ok(0) => return Err(ArmError::Late),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(start(errno)),
            }
        }
        match self.try_recv() {
            Ok(Some(Report::Armed)) => Ok(self),
            Ok(Some(Report::NotArmed(errno))) => Err(ArmError::NotReady(errno)),
            Ok(_) | Err(Lost) => Err(ArmError::Ended),
        }
    }

    fn tell(&self, command: Command) -> Result<(), Errno> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.socket.as_raw_fd(), &command.encode(), flags).map(drop)
    }

    fn tell_with(&self, command: Command, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let bytes = command.encode();
        let fds: [RawFd; 1] = [fd.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&fds)];
        // This waits while the guardian, which is still starting, has not read what was sent before; not longer than
        // the socket's limit.
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            &control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map(drop)
    }
}

impl AsFd for Guardian {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Guardian {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Guardian {
    /// The guardian ends by itself once everything is thawed, which may be long after. A thread waits for it, so that
    /// it does not stay behind as a zombie.
    fn drop(&mut self) {
        if let Keeper::Process(child) = &mut self.keeper
            && let Some(mut child) = child.take()
            && !matches!(child.try_wait(), Ok(Some(_)))
        {
            // Without a thread it stays a zombie until the agent ends, which does no harm.
            let _zombie = thread::Builder::new().spawn(move || drop(child.wait()));
        }
    }
}

fn pair() -> Result<(OwnedFd, OwnedFd), ArmError> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).map_err(start)
}

fn start(errno: Errno) -> ArmError {
    ArmError::Start(errno.into())
}
