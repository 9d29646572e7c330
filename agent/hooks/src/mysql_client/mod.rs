//! What the hooks of MariaDB and MySQL share: both speak one protocol, and are set up by one kind of table.

mod error;
mod places;
mod scattered;
mod session;
pub mod settings;

use std::fmt;
use std::time::Duration;

pub use error::ClientError;
pub(crate) use error::{code, lost};
pub(crate) use places::{Place, data_paths};
pub(crate) use session::{Session, field};

use crate::hook::StepContext;

/// What the server's own limit is longer than the lease by.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// MariaDB.
    Mariadb,
    /// MySQL, also as Percona builds it.
    Mysql,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mariadb => "MariaDB",
            Self::Mysql => "MySQL",
        })
    }
}

/// A server, as errors name it: `MySQL at /run/mysqld/mysqld.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What it should be.
    pub product: Product,
    /// Its socket, or its host and port.
    pub place: String,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.product, self.place)
    }
}

/// Whether commits on the server wait for other servers: a lock on one node of a Galera cluster stops all of them.
pub(crate) async fn refuse_galera(session: &mut Session) -> Result<(), ClientError> {
    let cluster = session.variables(&["wsrep_on"]).await?;
    if cluster.get("wsrep_on").is_some_and(|value| value == "ON") {
        return Err(ClientError::Galera { server: session.server.clone() });
    }
    Ok(())
}

/// Gives a connection its limits. The wait for a lock ends before the step does, so that the error names the lock. The
/// connection itself ends soon after the lease when its agent says nothing any more, and what it holds ends with it.
pub(crate) async fn set_limits(session: &mut Session, step: &StepContext) -> Result<(), ClientError> {
    let wait = step.remaining().as_secs().saturating_sub(1).max(1);
    let idle = (step.lease + GRACE).as_secs();
    let limits = format!("SET SESSION lock_wait_timeout = {wait}, wait_timeout = {idle}, autocommit = 1");
    session.execute("limits for the session", &limits).await
}

/// The numbers that a version begins with: `10.11.6-MariaDB-0+deb12u1-log` begins with 10, 11 and 6.
pub(crate) fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    std::array::from_fn(|_| numbers.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_first_three_numbers() {
        assert_eq!(numbers("10.11.6-MariaDB-0+deb12u1-log"), [10, 11, 6]);
        assert_eq!(numbers("8.0.36-28"), [8, 0, 36]);
        assert_eq!(numbers("5.7"), [5, 7, 0]);
        assert_eq!(numbers("MariaDB"), [0, 0, 0]);
    }
}
