//! What kind of host this is, for people who read a report of it.

use std::fmt;

use serde::Serialize;
use sysinfo::System;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Facts of the host. What the kernel does not tell is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facts {
    /// The distribution and its version.
    pub system: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// How many processors the scheduler uses.
    pub cpus: usize,
    /// Memory, in bytes.
    pub memory: u64,
    /// Memory that can be had without swapping, in bytes.
    pub memory_available: u64,
    /// The load average of the last minute.
    pub load: Option<f64>,
}

impl Facts {
    /// The facts of this host. No filesystem is asked: one of them may hang.
    pub fn gather() -> Self {
        let memory = System::new().map(|mut system| {
            system.refresh_memory();
            (system.total_memory(), system.available_memory())
        });
        let (memory, memory_available) = memory.unwrap_or_default();
        Self {
            system: System::long_os_version().ok(),
            kernel: System::kernel_version().ok(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory,
            memory_available,
            load: System::load_average().ok().map(|load| load.one),
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "an unknown system".to_owned();
        write!(f, "host: {}", self.system.clone().unwrap_or_else(unknown))?;
        self.kernel.iter().try_for_each(|kernel| write!(f, ", kernel {kernel}"))?;
        let gib = |bytes: u64| bytes as f64 / GIB;
        let (memory, available) = (gib(self.memory), gib(self.memory_available));
        write!(f, ", {} CPU(s), {memory:.1} GiB of memory ({available:.1} available)", self.cpus)?;
        self.load.iter().try_for_each(|load| write!(f, ", load {load:.2}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_this_host_are_those_of_proc() {
        let facts = Facts::gather();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(facts.kernel.as_deref(), Some(release.trim()));
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kilobytes: u64 = total.trim().trim_end_matches(" kB").parse().unwrap();
        assert_eq!(facts.memory, kilobytes * 1024);
        assert!(facts.memory_available <= facts.memory);
        assert!(facts.to_string().contains(&format!(", kernel {}", release.trim())), "{facts}");
    }
}
