//! Where a server keeps its data: the server says so, and the host must have it.

use std::path::{Path, PathBuf};

use super::Session;
use super::error::ClientError;
use super::folder::look_through;
use crate::hook::DataPath;

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

/// The data directory, `places` as far as the server has them, and what symbolic links in the data directory lead to.
pub(crate) async fn data_paths(
    session: &mut Session,
    places: &[Place],
) -> Result<Vec<DataPath>, ClientError> {
    let mut names: Vec<&str> = places.iter().map(|place| place.variable).collect();
    names.push("datadir");
    let values = session.variables(&names).await?;
    let base = PathBuf::from(values.get("datadir").map(String::as_str).unwrap_or_default());
    let mut found = vec![DataPath { what: "data directory".to_owned(), path: base.clone() }];
    for place in places {
        let value = values.get(place.variable).filter(|value| !value.is_empty());
        let path = value.and_then(|value| place.path(&base, value));
        let data = path.map(|path| DataPath { what: place.what.to_owned(), path });
        found.extend(data.filter(|data| !found.contains(data)));
    }
    let server = session.server.clone();
    let elsewhere = |(path, source)| ClientError::Elsewhere { server: server.clone(), path, source };
    let mut found = crate::server::exist(found).await.map_err(elsewhere)?;
    let contents = look_through(base).await.map_err(elsewhere)?;
    let links = contents.links.into_iter();
    found.extend(links.map(|path| DataPath { what: "link in the data directory".to_owned(), path }));
    Ok(found)
}
