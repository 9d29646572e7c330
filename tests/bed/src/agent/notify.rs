//! The other end of `NOTIFY_SOCKET` (sd_notify(3)).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Collects what is sent to a notify socket.
#[derive(Debug)]
pub(super) struct Listener {
    lines: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (lines, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (theirs, ended) = (Arc::clone(&lines), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                collect(&socket, &theirs);
            }
        });
        Ok(Self { lines, stop, thread: Some(thread) })
    }

    /// Everything so far, one assignment a line.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn forget(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Takes one message, if one comes before the read times out.
fn collect(socket: &UnixDatagram, lines: &Mutex<Vec<String>>) {
    let mut buffer = [0; 4096];
    if let Ok(count) = socket.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]);
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(text.lines().map(str::to_owned));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("error: the notify listener panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::wait_until;

    #[test]
    fn each_assignment_of_a_message_is_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify.sock");
        let listener = Listener::bind(&path).unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"READY=1\nSTATUS=idle", &path).unwrap();
        wait_until("both lines", Duration::from_secs(10), || listener.lines() == ["READY=1", "STATUS=idle"])
            .unwrap();
        listener.forget();
        assert!(listener.lines().is_empty());
    }
}
