//! Where a server keeps its data: the server says so, and the host must have it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::error::ClientError;
use super::{Session, scattered};
use crate::hook::DataPath;
use crate::server::residence;

/// A variable of the server's that names a place.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) what: &'static str,
    pub(crate) variable: &'static str,
    /// Names of files begin with it: what counts is their directory.
    pub(crate) is_file: bool,
}

impl Place {
    /// A directory.
    pub(crate) const fn folder(what: &'static str, variable: &'static str) -> Self {
        Self { what, variable, is_file: false }
    }

    /// What files begin with.
    pub(crate) const fn file(what: &'static str, variable: &'static str) -> Self {
        Self { what, variable, is_file: true }
    }

    /// A relative value begins at the data directory.
    fn path(&self, base: &Path, value: &str) -> Option<PathBuf> {
        let path = base.join(value);
        if self.is_file { path.parent().map(Path::to_owned) } else { Some(path) }
    }
}

/// The data directory, `places` as far as the server has them, and what lies elsewhere without being asked for.
pub(crate) async fn data_paths(
    session: &mut Session,
    places: &[Place],
) -> Result<Vec<DataPath>, ClientError> {
    let mut names: Vec<&str> = places.iter().map(|place| place.variable).collect();
    names.extend(["datadir", "hostname", "innodb_data_file_path"]);
    let values = session.variables(&names).await?;
    let value = |name| values.get(name).cloned().unwrap_or_default();
    let base = PathBuf::from(value("datadir"));
    let server = session.server.clone();
    let elsewhere = |(path, source)| ClientError::Elsewhere { server: server.clone(), path, source };
    works_in(&base, value("hostname")).await.map_err(elsewhere)?;
    let mut found = vec![DataPath { what: "data directory".to_owned(), path: base.clone() }];
    for place in places {
        let value = values.get(place.variable).filter(|value| !value.is_empty());
        let path = value.and_then(|value| place.path(&base, value));
        let data = path.map(|path| DataPath { what: place.what.to_owned(), path });
        found.extend(data.filter(|data| !found.contains(data)));
    }
    let system = scattered::system_tablespace(&value("innodb_data_file_path"));
    let scattered = system.into_iter().chain(scattered_tables(base).await.map_err(elsewhere)?);
    found.extend(scattered.map(|path| DataPath { what: "tables elsewhere".to_owned(), path }));
    crate::server::exist(found).await.map_err(elsewhere)
}

/// Whether the server that has this host name is one that works in this directory here. One in a container has a name
/// of its own, as a rule, and so has one on another host.
async fn works_in(base: &Path, name: String) -> Result<(), (PathBuf, io::Error)> {
    let own =
        std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(|error| (base.to_owned(), error))?;
    let shares_name = own.trim_end() == name;
    residence::check(base.to_owned(), move |resident| resident.shares_name == shares_name).await
}

async fn scattered_tables(base: PathBuf) -> Result<BTreeSet<PathBuf>, (PathBuf, io::Error)> {
    let path = base.clone();
    let looked = tokio::task::spawn_blocking(move || scattered::places(&base)).await;
    looked.unwrap_or_else(|lost| Err(io::Error::other(lost))).map_err(|error| (path, error))
}
