//! Where the agent keeps what it needs. Every path can be moved, so that several agents can run on one host.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::Sources;

/// The directories of one agent.
#[derive(Clone, Debug, Args)]
pub struct Paths {
    /// The directory that holds conf.d, in place of /usr/lib, /run and /etc/quiesced.
    #[arg(long, env = "QUIESCED_CONFIG_DIR", global = true, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// The directory for the control socket and the journal; it must lie on tmpfs.
    #[arg(
        long,
        env = "QUIESCED_RUNTIME_DIR",
        global = true,
        value_name = "DIR",
        default_value = "/run/quiesced"
    )]
    pub runtime_dir: PathBuf,
    /// The directory for the reports of sessions.
    #[arg(
        long,
        env = "QUIESCED_STATE_DIR",
        global = true,
        value_name = "DIR",
        default_value = "/var/lib/quiesced"
    )]
    pub state_dir: PathBuf,
    /// Work on a made-up host: DIR holds proc/self/mountinfo, proc/swaps and faults.json.
    #[arg(long, env = "QUIESCED_SIMULATE", global = true, value_name = "DIR", hide = true)]
    pub simulate: Option<PathBuf>,
}

impl Paths {
    /// Where configuration files are looked for.
    pub fn config_sources(&self) -> Sources {
        self.config_dir.as_deref().map_or_else(Sources::system, Sources::below)
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("control.sock")
    }

    /// Where the reports of sessions are kept.
    pub fn sessions(&self) -> PathBuf {
        self.state_dir.join("sessions")
    }

    /// Where reports wait to be sent.
    pub fn spool(&self) -> PathBuf {
        self.state_dir.join("spool")
    }

    /// Where hooks keep what a restore needs.
    pub fn records(&self) -> PathBuf {
        self.state_dir.join("records")
    }

    /// The directory for log files when the configuration names none: `/var/log/quiesced`, unless the state
    /// directory was moved.
    pub fn default_log_dir(&self) -> PathBuf {
        if self.state_dir == Path::new("/var/lib/quiesced") {
            PathBuf::from("/var/log/quiesced")
        } else {
            self.state_dir.join("log")
        }
    }

    /// Where `/proc` and `/sys` are read from.
    pub fn host_root(&self) -> &Path {
        self.simulate.as_deref().unwrap_or_else(|| Path::new("/"))
    }
}
