//! The privileges of the hook's user. They are read, not tried: a preflight changes nothing.

use super::error::MysqlError;
use super::facts::Version;
use super::settings::MysqlSettings;
use crate::mysql_client::{ClientError, Server, Session};

/// A right on tables, and not on everything.
const STATUS: &str = "SELECT ON performance_schema.*";

/// What the user has been granted on everything, and under which name.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    account: String,
    grants: Vec<String>,
}

impl Rights {
    /// Asks for them; those of the roles that are active are among them.
    pub(super) async fn ask(session: &mut Session) -> Result<Self, ClientError> {
        let account: Option<String> = session.ask("SELECT CURRENT_USER()").await?;
        let grants = session.list("SHOW GRANTS", "SHOW GRANTS").await?;
        Ok(Self { account: quoted(&account.unwrap_or_default()), grants })
    }

    /// Whether the hook can hold and read what it must.
    pub(super) fn check(
        &self,
        server: Server,
        settings: &MysqlSettings,
        version: &Version,
    ) -> Result<(), MysqlError> {
        let mut needed = vec!["RELOAD", "PROCESS"];
        needed.push(if version.has_backup_lock() { "BACKUP_ADMIN" } else { "REPLICATION CLIENT" });
        if settings.kill_selects {
            needed.push(if version.has_backup_lock() { "CONNECTION_ADMIN" } else { "SUPER" });
        }
        let mut missing = self.missing(&needed);
        if !self.may_read_status() {
            missing.push(STATUS);
        }
        self.none_of(server, missing)
    }

    /// Whether it can also stop a replica from applying changes, which only the read lock asks for.
    pub(super) fn check_replica(&self, server: Server, version: &Version) -> Result<(), MysqlError> {
        let needed = if version.has_backup_lock() { "REPLICATION_SLAVE_ADMIN" } else { "SUPER" };
        self.none_of(server, self.missing(&[needed]))
    }

    fn none_of(&self, server: Server, missing: Vec<&'static str>) -> Result<(), MysqlError> {
        if missing.is_empty() {
            return Ok(());
        }
        Err(MysqlError::Missing { server, account: self.account.clone(), missing })
    }

    fn missing(&self, needed: &[&'static str]) -> Vec<&'static str> {
        needed.iter().copied().filter(|name| !self.has(name)).collect()
    }

    /// SUPER was the right to everything before 8.0 split it up, and still is the right to what was split off
    /// (<https://dev.mysql.com/doc/refman/9.7/en/privileges-provided.html#priv_super>), but not to BACKUP_ADMIN.
    fn has(&self, name: &str) -> bool {
        let by_super = ["CONNECTION_ADMIN", "REPLICATION_SLAVE_ADMIN", "REPLICATION CLIENT"].contains(&name);
        let names = self.on("*.*");
        names.contains(&name) || names.contains(&"ALL PRIVILEGES") || (by_super && names.contains(&"SUPER"))
    }

    fn may_read_status(&self) -> bool {
        let all = ["SELECT", "ALL PRIVILEGES"];
        ["*.*", "`performance_schema`.*"]
            .iter()
            .any(|place| self.on(place).iter().any(|name| all.contains(name)))
    }

    /// What is granted on a place: `GRANT RELOAD, PROCESS ON *.* TO …`.
    fn on(&self, place: &str) -> Vec<&str> {
        let lists = self.grants.iter().filter_map(|line| {
            let (names, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
            rest.strip_prefix(place)?.starts_with(" TO ").then_some(names)
        });
        lists.flat_map(|names| names.split(',')).map(str::trim).collect()
    }
}

/// `quiesced@localhost` as a statement has to name it.
fn quoted(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    format!("'{}'@'{}'", user.replace('\'', "''"), host.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(grants: &[&str]) -> Rights {
        Rights { account: String::new(), grants: grants.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn rights_are_read_from_every_line_of_the_grants() {
        let rights = rights(&[
            "GRANT RELOAD, PROCESS, REPLICATION CLIENT ON *.* TO `q`@`localhost`",
            "GRANT BACKUP_ADMIN,CONNECTION_ADMIN ON *.* TO `q`@`localhost` WITH GRANT OPTION",
            "GRANT SELECT ON `performance_schema`.* TO `q`@`localhost`",
            "GRANT `r`@`%` TO `q`@`localhost`",
        ]);
        assert!(rights.may_read_status());
        let needed = ["RELOAD", "BACKUP_ADMIN", "CONNECTION_ADMIN", "REPLICATION CLIENT", "SUPER"];
        assert_eq!(rights.missing(&needed), ["SUPER"]);
    }

    #[test]
    fn rights_on_one_database_are_no_rights_on_all() {
        let rights = rights(&[
            "GRANT RELOAD, SELECT ON `orders`.* TO `q`@`localhost`",
            "GRANT USAGE ON *.* TO `q`@`%`",
        ]);
        assert!(!rights.has("RELOAD") && !rights.may_read_status());
    }

    #[test]
    fn older_names_of_rights_count() {
        assert!(rights(&["GRANT ALL PRIVILEGES ON *.* TO 'root'@'localhost'"]).has("PROCESS"));
        let operator = rights(&["GRANT SUPER ON *.* TO 'q'@'localhost'"]);
        assert!(operator.has("CONNECTION_ADMIN") && !operator.has("BACKUP_ADMIN"));
    }

    #[test]
    fn an_account_is_quoted_whatever_it_is() {
        assert_eq!(quoted("o'neill@10.0.0.%"), "'o''neill'@'10.0.0.%'");
    }
}
