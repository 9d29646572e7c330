//! A point-in-time recovery of a copy: it begins at the label that the agent kept, and follows the log that the living
//! server has archived.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::Fallible;
use crate::observe::wait_until;
use crate::servers::Postgres;
use crate::tool::Tool;
use crate::volumes::Bed;

const LIMIT: Duration = Duration::from_secs(60);

/// Where a server archives its log, on none of its volumes.
#[derive(Debug)]
pub(super) struct Archive(PathBuf);

impl Archive {
    /// Makes a server archive its log from now on; it is started again for that.
    pub(super) fn begin(bed: &Bed, server: &mut Postgres) -> Fallible<Self> {
        let archive = bed.directory().join("archive");
        Tool::new("install").args(["-d", "-m", "700", "-o", "postgres"]).arg(&archive).run()?;
        let to = archive.display();
        server.sql("ALTER SYSTEM SET archive_mode = on")?;
        server.sql(&format!(
            "ALTER SYSTEM SET archive_command = 'cp %p {to}/%f.part && mv {to}/%f.part {to}/%f'"
        ))?;
        server.stop();
        server.start()?;
        Ok(Self(archive))
    }

    /// Waits until everything that was written so far is there.
    pub(super) fn until_complete(&self, server: &Postgres) -> Fallible<()> {
        let last = self.0.join(server.sql("SELECT pg_walfile_name(pg_switch_wal())")?);
        wait_until("the log is archived", LIMIT, || last.exists())?;
        Ok(())
    }

    /// Makes a copy in `main` recover from the label in `record`. Its tablespaces' map leads to `old`, where the living
    /// server has them, and must lead to `new`.
    pub(super) fn recover(&self, main: &Path, record: &Path, old: &Path, new: &Path) -> Fallible<()> {
        let map = fs::read_to_string(record.join("tablespace_map"))?;
        let map = map.replace(&old.display().to_string(), &new.display().to_string());
        fs::write(main.join("tablespace_map"), map)?;
        fs::copy(record.join("backup_label"), main.join("backup_label"))?;
        fs::write(main.join("recovery.signal"), "")?;
        // What ALTER SYSTEM has set: a copy must not archive to where the living server does.
        fs::remove_file(main.join("postgresql.auto.conf"))?;
        let command = format!("restore_command = 'cp {}/%f %p'\nhot_standby = off\n", self.0.display());
        let settings = main.join("conf.d.conf");
        fs::write(&settings, format!("{}\n{command}", fs::read_to_string(&settings)?))?;
        for name in ["tablespace_map", "backup_label", "recovery.signal"] {
            Tool::new("chown").arg("postgres").arg(main.join(name)).run()?;
        }
        Ok(())
    }
}

/// Whether a server has begun at its label: it renames the file then.
pub(super) fn has_used_label(main: &Path) -> bool {
    main.join("backup_label.old").exists()
}
