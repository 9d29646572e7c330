//! Redis or Valkey with an append-only file that is rewritten again and again. A row is an element of a list.

use std::path::Path;
use std::process::Command;

use super::super::Fallible;
use super::super::judge::{Canary, Database, Rows, Table};
use super::super::load::{CLIENTS, Insert};
use super::{Application, ByHand, note, token};
use crate::servers::{Redis, RedisBuild};
use crate::tool::Tool;
use crate::volumes::{Bed, Fs, MIB, Volume};

/// A rewrite whenever the file has grown by half.
const OPTIONS: [&str; 10] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "everysec",
    "--save",
    "",
    "--auto-aof-rewrite-min-size",
    "64kb",
    "--auto-aof-rewrite-percentage",
    "50",
];

/// A file that was cut is not mended, but refused.
const STRICT: [&str; 6] = ["--appendonly", "yes", "--save", "", "--aof-load-truncated", "no"];

/// A server under load.
pub(crate) struct RedisApplication {
    server: Running,
    build: RedisBuild,
    volumes: [Volume; 1],
}

impl RedisApplication {
    /// Makes it.
    pub(crate) fn new(bed: &Bed, build: RedisBuild) -> Fallible<Self> {
        let data = bed.volume("data", Fs::Xfs, 512 * MIB)?;
        let server = Redis::of(build, Some(&data.mount_point), &OPTIONS)?;
        note(bed, server.pid())?;
        Ok(Self { server: Running(server), build, volumes: [data] })
    }
}

impl Application for RedisApplication {
    fn database(&self) -> &dyn Database {
        &self.server
    }

    fn hook(&self) -> String {
        format!("[hook.queue.redis]\nhost = {:?}\n", self.server.0.socket())
    }

    fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    fn is_read_while_held(&self) -> bool {
        true
    }

    fn client(&self, client: usize) -> (Command, Insert) {
        (self.server.0.client(), Box::new(move |row| format!("RPUSH rows:{client} {row}")))
    }

    fn by_hand(&self) -> ByHand {
        ByHand {
            client: self.server.0.client(),
            prepare: &["INFO persistence"],
            quiesce: &["CLIENT PAUSE 40000 WRITE", "INFO persistence"],
            resume: &["CLIENT UNPAUSE"],
            say_done: "ECHO done",
        }
    }

    fn write_canaries(&self, token: u64) -> Fallible<()> {
        for database in DATABASES {
            self.server.0.ask(&["-n", database.1, "SET", "canary", &token.to_string()])?;
        }
        Ok(())
    }

    /// Redis's own checker goes first, because a server that has loaded the file writes to it. Valkey's calls a good
    /// base file invalid, so only loading it tells.
    fn restore(&self, bed: &Bed, copies: &[Volume], _record: Option<&Path>) -> Fallible<Box<dyn Database>> {
        let [data] = copies else { return Err("this is not one volume".into()) };
        if self.build == RedisBuild::Debian {
            let manifest = data.mount_point.join("appendonlydir/appendonly.aof.manifest");
            Tool::new("redis-check-aof").arg(manifest).run()?;
        }
        let copy = Redis::of(self.build, Some(&data.mount_point), &STRICT)?;
        note(bed, copy.pid())?;
        Ok(Box::new(Running(copy)))
    }
}

/// The place of each canary, and the database that it stands in.
const DATABASES: [(&str, &str); 2] = [("database 0", "0"), ("database 1", "1")];

/// A running server, the living one or that of a copy.
struct Running(Redis);

impl Database for Running {
    fn canaries(&self) -> Fallible<Vec<Canary>> {
        let read = |(place, database)| -> Fallible<Canary> {
            Ok(Canary { place, token: token(&self.0.ask(&["-n", database, "GET", "canary"])?)? })
        };
        DATABASES.into_iter().map(read).collect()
    }

    fn tables(&self) -> Fallible<Vec<Table>> {
        let of = |client: usize| -> Fallible<Rows> {
            let list = self.0.ask(&["LRANGE", &format!("rows:{client}"), "0", "-1"])?;
            let numbers: Result<Vec<u64>, _> = list.lines().map(str::parse).collect();
            let numbers = numbers?;
            Ok(Rows {
                count: numbers.len().try_into()?,
                last: numbers.iter().max().copied().unwrap_or_default(),
            })
        };
        let clients: Fallible<Vec<Rows>> = (0..CLIENTS).map(of).collect();
        Ok(vec![Table { name: "rows", clients: clients? }])
    }

    /// It has loaded its file as a whole, or it would not run: there is nothing else that it could check.
    fn check(&self) -> Fallible<()> {
        Ok(())
    }
}
