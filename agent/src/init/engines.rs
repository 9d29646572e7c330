//! Which engines are known, and how each is recognised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::pages;
use super::seen::{Process, Seen};
use crate::config::Settings;

/// How an engine is recognised.
#[derive(Debug)]
pub(super) struct Engine {
    /// Its name for people.
    pub(super) title: &'static str,
    /// The name of its page in `docs/hooks`, of its native hook or of its sample, and of the hook that is written.
    pub(super) name: &'static str,
    /// The text of its page.
    pub(super) page: &'static str,
    /// The names of its programs; the kernel keeps 15 characters (proc_pid_comm(5)).
    programs: &'static [&'static str],
    /// What the names of its services begin with.
    units: &'static [&'static str],
    hook: Hook,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    Postgresql,
    Mariadb,
    Mysql,
    Redis,
    Sample,
    None,
}

macro_rules! page {
    ($name:literal) => {
        include_str!(concat!("../../../docs/hooks/", $name, ".md"))
    };
}

const fn engine(
    (title, name, page): (&'static str, &'static str, &'static str),
    programs: &'static [&'static str],
    units: &'static [&'static str],
    hook: Hook,
) -> Engine {
    Engine { title, name, page, programs, units, hook }
}

static ENGINES: [Engine; 15] = [
    engine(
        ("PostgreSQL", "postgresql", page!("postgresql")),
        &["postgres", "postmaster"],
        &["postgresql"],
        Hook::Postgresql,
    ),
    engine(("MariaDB", "mariadb", page!("mariadb")), &["mariadbd"], &["mariadb"], Hook::Mariadb),
    // MariaDB's packages install its service under these names too, so they tell nothing.
    engine(("MySQL", "mysql", page!("mysql")), &["mysqld"], &[], Hook::Mysql),
    engine(
        ("Redis or Valkey", "redis", page!("redis")),
        &["redis-server", "valkey-server"],
        &["redis", "valkey"],
        Hook::Redis,
    ),
    engine(("MongoDB", "mongodb", page!("mongodb")), &["mongod"], &["mongod"], Hook::Sample),
    engine(("Oracle Database", "oracle", page!("oracle")), &["oracle", "tnslsnr"], &["oracle"], Hook::Sample),
    engine(("SQL Server", "sqlserver", page!("sqlserver")), &["sqlservr"], &["mssql-server"], Hook::Sample),
    engine(("Db2", "db2", page!("db2")), &["db2sysc"], &["db2"], Hook::Sample),
    engine(
        ("SAP HANA", "hana", page!("hana")),
        &["hdbindexserver", "hdbnameserver"],
        &["SAPHDB"],
        Hook::Sample,
    ),
    engine(("SAP ASE", "ase", page!("ase")), &["dataserver"], &["ase"], Hook::Sample),
    engine(("InterSystems IRIS", "iris", page!("iris")), &["irisdb"], &["iris"], Hook::Sample),
    engine(
        ("Firebird", "firebird", page!("firebird")),
        &["firebird", "fbserver", "fb_smp_server"],
        &["firebird"],
        Hook::Sample,
    ),
    engine(
        ("ClickHouse", "clickhouse", page!("clickhouse")),
        &["clickhouse-serv", "clickhouse"],
        &["clickhouse-server"],
        Hook::Sample,
    ),
    engine(("Cassandra", "cassandra", page!("cassandra")), &[], &["cassandra"], Hook::Sample),
    engine(
        ("Elasticsearch or OpenSearch", "elasticsearch", page!("elasticsearch")),
        &[],
        &["elasticsearch", "opensearch"],
        Hook::None,
    ),
];

static SQLITE: Engine =
    Engine { title: "SQLite", name: "sqlite", page: "", programs: &[], units: &[], hook: Hook::None };

/// Databases whose loss nobody would notice, or that are no application's.
const NOT_DATA: [&str; 6] = ["/var/cache", "/var/tmp", "/tmp", "/run", "/root", "/home"];

/// Something that was found.
#[derive(Clone, Debug)]
pub(super) struct Find {
    pub(super) engine: &'static Engine,
    /// The name of its hook, and of its file.
    pub(super) name: String,
    /// How it was found, as a clause.
    pub(super) evidence: String,
    pub(super) state: State,
    keys: Vec<(&'static str, Value)>,
}

/// What can be written for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A native hook, with the address that was found.
    Native,
    /// A native hook, in comments: nobody would answer it.
    NotRunning,
    /// The sample, in comments: its script and its user are not there yet.
    Sample,
    /// Nothing but that it is there.
    Unsupported,
}

/// Looks for every engine.
pub(super) fn look(seen: &Seen) -> Vec<Find> {
    let mut found: Vec<Find> = ENGINES.iter().flat_map(|engine| engine.look(seen)).collect();
    found.extend(sqlite(seen));
    let mut taken = BTreeMap::new();
    for find in &mut found {
        let number = taken.entry(find.name.clone()).and_modify(|number| *number += 1).or_insert(1);
        if *number > 1 {
            find.name = format!("{}-{number}", find.name);
        }
    }
    found
}

impl Engine {
    fn look(&'static self, seen: &Seen) -> Vec<Find> {
        let running: Vec<(u32, &Process)> = self.running(seen).collect();
        let Some((pid, _)) = running.first() else { return self.installed(seen).into_iter().collect() };
        let process = format!("process {pid} runs");
        let addresses = match self.hook {
            Hook::Postgresql => postgresql(&seen.sockets),
            Hook::Mariadb | Hook::Mysql => mysql(&seen.sockets),
            Hook::Redis => redis(&running),
            Hook::Sample => return vec![self.find(process, State::Sample, Vec::new())],
            Hook::None => return vec![self.find(process, State::Unsupported, Vec::new())],
        };
        if addresses.is_empty() {
            return vec![self.find(process, State::Native, Vec::new())];
        }
        addresses.into_iter().map(|(evidence, keys)| self.find(evidence, State::Native, keys)).collect()
    }

    fn running<'a>(&'static self, seen: &'a Seen) -> impl Iterator<Item = (u32, &'a Process)> {
        let is_own = |process: &Process| self.programs.contains(&process.name.as_str());
        seen.processes
            .iter()
            .filter(move |(_, process)| is_own(process))
            .map(|(pid, process)| (*pid, process))
    }

    fn installed(&'static self, seen: &Seen) -> Option<Find> {
        let is_own = |unit: &&String| self.units.iter().any(|start| unit.starts_with(start));
        let unit = seen.units.iter().find(is_own)?;
        let state = match self.hook {
            Hook::Sample => State::Sample,
            Hook::None => State::Unsupported,
            Hook::Postgresql | Hook::Mariadb | Hook::Mysql | Hook::Redis => State::NotRunning,
        };
        Some(self.find(format!("{unit}.service is installed"), state, Vec::new()))
    }

    fn find(&'static self, evidence: String, state: State, keys: Vec<(&'static str, Value)>) -> Find {
        Find { engine: self, name: self.name.to_owned(), evidence, state, keys }
    }
}

type Address = (String, Vec<(&'static str, Value)>);

/// A server listens on `.s.PGSQL.PORT` in the directory that is its host for clients (libpq, `host`).
fn postgresql(sockets: &BTreeSet<PathBuf>) -> Vec<Address> {
    let address = |socket: &PathBuf| {
        let port: u16 = socket.file_name()?.to_str()?.strip_prefix(".s.PGSQL.")?.parse().ok()?;
        let keys =
            vec![("host", json!(socket.parent()?)), ("port", json!(port)), ("user", json!("quiesced"))];
        Some((format!("it listens on {}", socket.display()), keys))
    };
    sockets.iter().filter_map(address).collect()
}

/// MariaDB and MySQL name their sockets alike.
fn mysql(sockets: &BTreeSet<PathBuf>) -> Vec<Address> {
    let is_own = |socket: &&PathBuf| {
        let name = socket.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        ["mysqld.sock", "mysql.sock", "mariadb.sock"].contains(&name)
    };
    let keys = |socket: &PathBuf| vec![("host", json!(socket)), ("user", json!("quiesced"))];
    let address = |socket: &PathBuf| (format!("it listens on {}", socket.display()), keys(socket));
    sockets.iter().filter(is_own).map(address).collect()
}

/// Redis writes its address into its title: `redis-server 127.0.0.1:6379` (`proc-title-template` in redis.conf), and that of
/// its socket only when it has no port: `redis-server unixsocket:/run/redis.sock`.
fn redis(running: &[(u32, &Process)]) -> Vec<Address> {
    let address = |(pid, process): &(u32, &Process)| {
        let shown = process.title.split_whitespace().nth(1)?;
        let keys = if let Some(socket) = shown.strip_prefix("unixsocket:") {
            vec![("host", json!(socket))]
        } else {
            let (host, port) = shown.rsplit_once(':')?;
            let host = if ["*", "0.0.0.0", ""].contains(&host) { "127.0.0.1" } else { host };
            vec![("host", json!(host.trim_matches(['[', ']']))), ("port", json!(port.parse::<u16>().ok()?))]
        };
        Some((format!("process {pid} serves {shown}"), keys))
    };
    running.iter().filter_map(address).collect()
}

/// One hook for each program that has databases open.
fn sqlite(seen: &Seen) -> Vec<Find> {
    let mut databases: BTreeMap<&str, BTreeSet<PathBuf>> = BTreeMap::new();
    for process in seen.processes.values() {
        let logs = process.wals.iter().filter_map(|wal| wal.to_str()?.strip_suffix("-wal"));
        let wanted = logs.filter(|path| !NOT_DATA.iter().any(|place| Path::new(path).starts_with(place)));
        databases.entry(&process.name).or_default().extend(wanted.map(PathBuf::from));
    }
    let find = |(program, paths): (&str, BTreeSet<PathBuf>)| Find {
        engine: &SQLITE,
        name: format!("sqlite-{}", hook_name(program)),
        evidence: format!("{program} has {} database(s) open", paths.len()),
        state: State::Native,
        keys: vec![("databases", json!(paths))],
    };
    databases.into_iter().filter(|(_, paths)| !paths.is_empty()).map(find).collect()
}

/// A name of a program as the name of a hook.
fn hook_name(program: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    program.chars().map(plain).collect::<String>().trim_matches('-').to_owned()
}

impl Find {
    /// The lines of its table.
    pub(super) fn table(&self) -> Vec<String> {
        if self.state == State::Sample {
            return pages::table(self.engine.page);
        }
        let header = format!("[hook.{}.{}]", self.name, self.engine.name);
        let keys = self.keys.iter().map(|(key, value)| format!("{key} = {}", crate::config::inline(value)));
        std::iter::once(header).chain(keys).collect()
    }

    /// Whether its file does anything before somebody has changed it.
    pub(super) fn is_active(&self) -> bool {
        self.state == State::Native
    }

    /// Whether a hook of this kind and with this address, or one that runs the sample, is configured already.
    pub(super) fn is_configured(&self, settings: &Settings) -> bool {
        let script = format!("{}.sh", self.engine.name);
        settings.hook.values().any(|hook| {
            let told = json!(hook);
            if hook.kind() == self.engine.name {
                let own = &told[hook.kind()];
                let address = self.keys.iter().filter(|(key, _)| *key != "user");
                return self.state != State::Native
                    || address.clone().all(|(key, value)| own[*key] == *value);
            }
            self.state == State::Sample && told.to_string().contains(&script)
        })
    }
}
