//! What settings of the right shape must also obey. Every rule is tried on every table; none stops the others.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quiesced_core::block::is_volume_id;
use quiesced_core::plan::{DataPath, OrderError, order_hooks};
use quiesced_hooks::server::PasswordSource;
use quiesced_hooks::settings::{HookSettings, ServerSettings};

use super::errors::Finding;
use super::merged::Merged;
use super::read::Draft;
use super::settings::{AgentSettings, FilesystemSelection, GroupSettings, HookSelection};
use super::shape::{header, suggestion};
use super::texts::Texts;

const SHORTEST: Duration = Duration::from_secs(1);
const SHORTEST_KEEPING: Duration = Duration::from_secs(3600);
const LONGEST_LEASE: Duration = Duration::from_secs(600);
/// The longest script timeout of a lifecycle policy is 120 s, and the SSM document's own; an answer must be on its way
/// before.
const LONGEST_BUDGET: Duration = Duration::from_secs(100);
/// What a lifecycle policy may say (`ExecutionTimeout` in
/// <https://docs.aws.amazon.com/dlm/latest/APIReference/API_Script.html>).
const SCRIPT_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(120);
const LONGEST_NAME: usize = 64;

/// Tries every rule.
pub(super) fn check(draft: &Draft, merged: &Merged<'_>, texts: &Texts, findings: &mut Vec<Finding>) {
    let mut rules = Rules { draft, merged, texts, findings };
    rules.agent();
    rules.log();
    rules.report();
    rules.webhook();
    rules.metrics();
    rules.names();
    rules.hooks();
    rules.order();
    rules.groups();
}

struct Rules<'a> {
    draft: &'a Draft,
    merged: &'a Merged<'a>,
    texts: &'a Texts,
    findings: &'a mut Vec<Finding>,
}

impl Rules<'_> {
    fn add(&mut self, path: &[&str], message: impl Into<String>) -> &mut Finding {
        self.findings.push(self.texts.finding(self.merged.span(path), message));
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// The first of these paths that was written; a default has no place that could be shown.
    fn written<'p>(&self, paths: &[&'p [&'p str]]) -> &'p [&'p str] {
        paths
            .iter()
            .find(|path| self.merged.get(path).is_some())
            .or_else(|| paths.first())
            .copied()
            .unwrap_or_default()
    }

    fn agent(&mut self) {
        let Some(AgentSettings { lease, pre_script_budget: budget, script_timeout, .. }) = self.draft.agent
        else {
            return;
        };
        let (lease_at, budget_at) = (&["agent", "lease"][..], &["agent", "pre_script_budget"][..]);
        if !(SHORTEST..=LONGEST_LEASE).contains(&lease) {
            self.add(lease_at, format!("the lease is {}; it must last from 1s to 10m", shown(lease)));
        }
        if !(SHORTEST..=LONGEST_BUDGET).contains(&budget) {
            let message =
                format!("the budget of pre-script is {}; it must be from 1s to 100s", shown(budget));
            self.add(budget_at, message);
        }
        if !SCRIPT_TIMEOUTS.contains(&script_timeout) {
            let message =
                format!("the script timeout is {}; policies have 10s to 120s", shown(script_timeout));
            self.add(&["agent", "script_timeout"], message);
        }
        if lease <= budget {
            let message = format!(
                "the lease ({}) must be longer than the budget of pre-script ({}), which is part of it",
                shown(lease),
                shown(budget)
            );
            let at = self.written(&[lease_at, budget_at]);
            self.add(at, message);
        }
    }

    fn log(&mut self) {
        if let Some(directory) = self.draft.log.as_ref().and_then(|log| log.directory.as_ref()) {
            self.absolute(&["log", "directory"], directory);
        }
    }

    fn report(&mut self) {
        let Some(report) = &self.draft.report else { return };
        if report.keep_for < SHORTEST_KEEPING {
            let message = format!(
                "reports are kept for {}, which must be at least {}",
                shown(report.keep_for),
                shown(SHORTEST_KEEPING)
            );
            self.add(&["report", "keep_for"], message);
        }
    }

    fn webhook(&mut self) {
        let Some(webhook) = self.draft.report.as_ref().and_then(|report| report.webhook.as_ref()) else {
            return;
        };
        let at = ["report", "webhook"];
        self.secret(&[&at[..], &["secret"]].concat(), &webhook.secret);
        if let Some(ca) = &webhook.ca {
            self.absolute(&["report", "webhook", "ca"], ca);
        }
        if webhook.timeout.is_zero() {
            self.add(&["report", "webhook", "timeout"], "a timeout of nothing leaves no time for an answer");
        }
        let url = &webhook.url;
        let message = match url.parse::<hyper::Uri>() {
            Ok(uri) if uri.scheme_str() == Some("https") && uri.host().is_some() => return,
            Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some_and(is_this_host) => return,
            Ok(uri) if uri.scheme_str() == Some("http") => {
                format!("`{}` would send reports in the clear", url.escape_debug())
            }
            _ => format!("`{}` is not an https address", url.escape_debug()),
        };
        let hint = "write it as \"https://coordinator.example.com/quiesced\"";
        self.add(&["report", "webhook", "url"], message).hint = Some(hint.to_owned());
    }

    fn metrics(&mut self) {
        let Some(listen) = self.draft.metrics.as_ref().and_then(|metrics| metrics.listen.as_ref()) else {
            return;
        };
        let message = match listen.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => return,
            Ok(address) => format!("{address} can be reached from other hosts"),
            Err(_) => format!("`{}` is not an address with a port", listen.escape_debug()),
        };
        let hint = "name a loopback address, such as \"127.0.0.1:9464\"; a proxy can stand before it";
        self.add(&["metrics", "listen"], message).hint = Some(hint.to_owned());
    }

    fn names(&mut self) {
        for table in ["hook", "group"] {
            for name in self.merged.names(table).into_iter().filter(|name| !well_formed(name)) {
                let span = self.merged.get(&[table, name]).map_or(0..0, |entry| entry.key);
                let message = format!("`{}` cannot be the name of a {table}", name.escape_debug());
                let hint = "a lower case letter or digit, then also '.', '_' and '-'; at most 64 characters";
                self.findings.push(self.texts.finding(span, message).hint(hint));
            }
        }
    }

    fn hooks(&mut self) {
        for (name, hook) in &self.draft.hook {
            let Some(hook) = hook else { continue };
            let at = ["hook", name, hook.kind()];
            self.timeout(&at, hook.common().timeout);
            match hook {
                HookSettings::Exec(exec) => {
                    self.command(&at, "quiesce", &exec.quiesce);
                    self.command(&at, "resume", &exec.resume);
                    if let Some(verify) = &exec.verify {
                        self.command(&at, "verify", verify);
                    }
                    self.paths(&at, "data", &exec.data);
                    self.user(&at, exec.user.as_deref());
                }
                HookSettings::Session(session) => {
                    self.command(&at, "command", &session.command);
                    self.paths(&at, "data", &session.data);
                    self.user(&at, session.user.as_deref());
                }
                HookSettings::Sqlite(sqlite) => {
                    if sqlite.databases.is_empty() {
                        self.add(
                            &[&at[..], &["databases"]].concat(),
                            "a sqlite hook needs at least one database",
                        );
                    }
                    self.paths(&at, "databases", &sqlite.databases);
                }
                HookSettings::Postgresql(postgresql) => {
                    self.password(&at, postgresql.password.as_ref());
                    self.in_clear(
                        &at,
                        &postgresql.host,
                        postgresql.password.is_some() && postgresql.tls_ca.is_none(),
                    );
                    self.file(&at, "tls_ca", postgresql.tls_ca.as_deref());
                }
                HookSettings::Mariadb(mariadb) => {
                    self.server(&at, &mariadb.server);
                }
                HookSettings::Mysql(mysql) => {
                    self.server(&at, &mysql.server);
                    if mysql.longest_statement.is_zero() {
                        let at = [&at[..], &["longest_statement"]].concat();
                        self.add(&at, "every statement is longer than nothing");
                    }
                }
                HookSettings::Redis(redis) => {
                    self.password(&at, redis.password.as_ref());
                    self.in_clear(&at, &redis.host, redis.password.is_some() && redis.tls_ca.is_none());
                    self.file(&at, "tls_ca", redis.tls_ca.as_deref());
                }
            }
        }
    }

    fn timeout(&mut self, hook: &[&str], timeout: Duration) {
        let at = [hook, &["timeout"]].concat();
        if timeout.is_zero() {
            self.add(&at, "a timeout of nothing leaves no time for any step");
        }
        let Some(lease) = self.draft.agent.as_ref().map(|agent| agent.lease) else { return };
        if timeout > lease {
            let message = format!(
                "the timeout of {} ({}) is longer than the lease ({})",
                header(hook),
                shown(timeout),
                shown(lease)
            );
            let at = self.written(&[&at, &["agent", "lease"]]).to_vec();
            self.add(&at, message);
        }
    }

    fn command(&mut self, hook: &[&str], key: &str, argv: &[String]) {
        let at = [hook, &[key]].concat();
        match argv.first() {
            None => {
                self.add(&at, format!("`{key}` names no program"));
            }
            Some(program) => self.absolute(&[&at[..], &["0"]].concat(), Path::new(program)),
        }
        for (position, argument) in argv.iter().enumerate().skip(1) {
            if argument.contains('\0') {
                self.add(
                    &[&at[..], &[&position.to_string()]].concat(),
                    "an argument cannot hold a NUL character",
                );
            }
        }
    }

    fn paths(&mut self, hook: &[&str], key: &str, paths: &[PathBuf]) {
        for (position, path) in paths.iter().enumerate() {
            self.absolute(&[hook, &[key, &position.to_string()]].concat(), path);
        }
    }

    fn server(&mut self, hook: &[&str], server: &ServerSettings) {
        self.password(hook, server.password.as_ref());
        self.in_clear(hook, &server.host, server.password.is_some() && server.tls_ca.is_none());
        self.file(hook, "tls_ca", server.tls_ca.as_deref());
    }

    /// A password that goes to another host in clear is everybody's.
    fn in_clear(&mut self, hook: &[&str], host: &str, is_plain: bool) {
        if is_plain && !host.starts_with('/') && !is_this_host(host) {
            self.add(&[hook, &["host"]].concat(), format!("a password goes to {host} only with `tls_ca`"));
        }
    }

    fn password(&mut self, hook: &[&str], source: Option<&PasswordSource>) {
        if let Some(source) = source {
            self.secret(&[hook, &["password"]].concat(), source);
        }
    }

    fn secret(&mut self, at: &[&str], source: &PasswordSource) {
        match source {
            PasswordSource::File(path) => self.absolute(&[at, &["file"]].concat(), path),
            PasswordSource::Credential(name) if name.is_empty() || name.contains('/') => {
                let message = "a credential is named as in `LoadCredential=`, without a path";
                self.add(&[at, &["credential"]].concat(), message);
            }
            PasswordSource::SsmParameter(name) if name.is_empty() || name.contains(char::is_whitespace) => {
                self.add(&[at, &["ssm_parameter"]].concat(), "this cannot be the name of a parameter");
            }
            PasswordSource::Credential(_) | PasswordSource::SsmParameter(_) => {}
        }
    }

    fn file(&mut self, hook: &[&str], key: &str, path: Option<&Path>) {
        path.into_iter().for_each(|path| self.absolute(&[hook, &[key]].concat(), path));
    }

    fn absolute(&mut self, at: &[&str], path: &Path) {
        if path.to_string_lossy().contains('\0') {
            self.add(at, "a path cannot hold a NUL character");
        } else if !path.is_absolute() {
            self.add(at, format!("`{}` is not an absolute path", path.display()));
        }
    }

    fn user(&mut self, hook: &[&str], user: Option<&str>) {
        if user.is_some_and(|user| user.is_empty() || user.contains('\0')) {
            self.add(&[hook, &["user"]].concat(), "this cannot be the name of a user");
        }
    }

    /// `after` names hooks that exist, and no hooks wait for each other.
    fn order(&mut self) {
        let mut hooks = Vec::new();
        for (name, hook) in &self.draft.hook {
            let Some(hook) = hook else { continue };
            let mut known = Vec::new();
            for (position, other) in hook.common().after.iter().enumerate() {
                let at = ["hook", name, hook.kind(), "after", &position.to_string()];
                if other == name {
                    self.add(&at, format!("hook `{name}` cannot come after itself"));
                } else if self.known_hook(&at, other) {
                    known.push(other.clone());
                }
            }
            hooks.push((name.clone(), known, Vec::new()));
        }
        // A hook that is `None` in the draft waits for nobody as far as is known.
        hooks.extend(
            self.draft
                .hook
                .iter()
                .filter(|(_, hook)| hook.is_none())
                .map(|(name, _)| (name.clone(), Vec::new(), Vec::new())),
        );
        self.cycles(hooks);
    }

    /// Reports one cycle after the other: the hooks of each stop waiting once it is reported.
    fn cycles(&mut self, mut hooks: Vec<(String, Vec<String>, Vec<DataPath>)>) {
        while let Err(OrderError::Cycle { cycle }) = order_hooks(&hooks) {
            let message = format!("hooks wait for each other: {}", cycle.join(" after "));
            let first = &cycle[0];
            let kind = self.draft.hook.get(first).and_then(Option::as_ref).map_or("", HookSettings::kind);
            self.add(&["hook", first, kind, "after"], message);
            for (_, after, _) in hooks.iter_mut().filter(|(name, ..)| cycle.contains(name)) {
                after.clear();
            }
        }
    }

    fn known_hook(&mut self, at: &[&str], name: &str) -> bool {
        if self.draft.hook.contains_key(name) {
            return true;
        }
        let known: Vec<&str> = self.draft.hook.keys().map(String::as_str).collect();
        let hint = suggestion("hooks", name, &known);
        self.add(at, format!("there is no hook `{name}`")).hint = Some(hint);
        false
    }

    fn groups(&mut self) {
        for (name, group) in &self.draft.group {
            let Some(group) = group else { continue };
            if let HookSelection::Named(hooks) = &group.hooks {
                self.members(name, group, hooks);
            }
            if let FilesystemSelection::Paths(paths) = &group.filesystems {
                self.paths(&["group", name], "filesystems", paths);
            }
            self.volumes(name, &group.expect_volumes);
        }
    }

    fn volumes(&mut self, group_name: &str, ids: &[String]) {
        for (position, id) in ids.iter().enumerate().filter(|(_, id)| !is_volume_id(id)) {
            let at = ["group", group_name, "expect_volumes", &position.to_string()];
            let message = format!("`{}` is not the id of a volume", id.escape_debug());
            self.add(&at, message).hint = Some("ids have the form vol-0123456789abcdef0".to_owned());
        }
    }

    fn members(&mut self, group_name: &str, group: &GroupSettings, hooks: &[String]) {
        let mut seen = BTreeSet::new();
        for (position, name) in hooks.iter().enumerate() {
            let at = ["group", group_name, "hooks", &position.to_string()];
            if !self.known_hook(&at, name) {
                continue;
            }
            if !seen.insert(name) {
                self.add(&at, format!("hook `{name}` is listed twice"));
            }
            let Some(Some(hook)) = self.draft.hook.get(name) else { continue };
            let others = hook.common().after.iter().filter(|other| self.draft.hook.contains_key(*other));
            for other in others.filter(|other| !group.hooks.contains(other)) {
                let message =
                    format!("hook `{name}` comes after `{other}`, which is not in the group `{group_name}`");
                let hint = format!("add \"{other}\" to the hooks of the group");
                self.add(&at, message).hint = Some(hint);
            }
        }
    }
}

fn well_formed(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= LONGEST_NAME
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || b"._-".contains(&byte))
}

/// Whether what is sent there stays on this host.
fn is_this_host(host: &str) -> bool {
    ["localhost", "127.0.0.1", "::1", "[::1]"].contains(&host)
}

fn shown(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}
