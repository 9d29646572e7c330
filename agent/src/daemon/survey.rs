//! The survey: what a session of a group would hold on this host, found out without touching anything.
//!
//! It is the first step of every session, and all of `plan`, `check` and a dry-run. Hooks are asked, read-only, where
//! their data lies; the mounts say which filesystems that is, and the rules say which of them may be frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quiesced_core::block::{DeviceKind, Stack, Volume};
use quiesced_core::exit::ExitCode;
use quiesced_core::finding::Severity;
use quiesced_core::id::ExecutionId;
use quiesced_core::plan::{self, DataPath, Outside, Plan, PlannedFilesystem};
use quiesced_core::problem::Problem;
use quiesced_core::report::{Step, StepReport};
use quiesced_core::superblock::Superblock;
use quiesced_core::time::BootTime;
use quiesced_freezer::clock;
use quiesced_hooks::{Inspection, NamedHook, Outcome, Runner, SessionContext, build};
use quiesced_topology::{BlockStack, Mount, Mounts, OwnPath, Rules, TopologyError, freeze_ranks, swap_files};

use super::{OWN_BINARY, steps};
use crate::api::wire::Reply;
use crate::config::{FilesystemSelection, GroupSettings, OnConflict, Origins, Settings, Stamp};
use crate::paths::Paths;
use crate::preflight;

/// Where the SSM agent keeps its state and its logs. With either frozen it neither times out nor starts a
/// post-script until somebody else thaws.
const SSM_DIRECTORIES: [&str; 2] = ["/var/lib/amazon/ssm", "/var/log/amazon/ssm"];

/// What a survey needs to know of the agent.
#[derive(Debug)]
pub struct Surveyor {
    /// The configuration in force.
    pub settings: Settings,
    /// Where the agent keeps what it needs.
    pub paths: Paths,
    /// The files that the configuration was read from.
    pub config_files: Vec<PathBuf>,
    /// Where each setting was written.
    pub origins: Origins,
    /// What the directories of the configuration held when it was read.
    pub stamp: Stamp,
}

/// What lies on what, and what must not be frozen, at one moment.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    mounts: Mounts,
    rules: Rules,
}

impl Surveyor {
    /// Reads the mounts of the host.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read.
    pub fn host(&self) -> Result<Host, Problem> {
        let root = self.paths.host_root();
        let mounts = Mounts::read(root).map_err(topology_problem)?;
        let swap_files = swap_files(root).map_err(topology_problem)?;
        let rules = Rules {
            allow_root: self.settings.agent.allow_root,
            ssm_directories: self.ssm_directories(),
            own_paths: self.own_paths(),
            swap_files,
        };
        Ok(Host { root: root.to_owned(), mounts, rules })
    }

    /// The directories of the SSM agent, if one is installed here.
    fn ssm_directories(&self) -> Vec<PathBuf> {
        let is_here =
            |path: &Path| self.paths.host_root().join(path.strip_prefix("/").unwrap_or(path)).is_dir();
        SSM_DIRECTORIES.iter().map(Path::new).filter(|path| is_here(path)).map(resolve).collect()
    }

    fn own_paths(&self) -> Vec<OwnPath> {
        let log = self.settings.log.directory.clone().unwrap_or_else(|| self.paths.default_log_dir());
        let named = [
            ("state", self.paths.state_dir.clone()),
            ("journal", self.paths.runtime_dir.clone()),
            ("log", log),
        ];
        let config = self.config_files.iter().map(|file| ("configuration", file.clone()));
        let binary = std::env::current_exe().ok().map(|path| ("binary", path));
        let all = named.into_iter().chain(config).chain(binary);
        all.map(|(what, path)| OwnPath { what: what.to_owned(), path: resolve(&path) }).collect()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn topology_problem(error: TopologyError) -> Problem {
    Problem::from_error(&error).with_hint(Some(error.hint()))
}

/// The path without symbolic links. What does not exist yet will lie where its nearest existing ancestor does.
fn resolve(path: &Path) -> PathBuf {
    let existing =
        path.ancestors().find_map(|ancestor| Some((ancestor, std::fs::canonicalize(ancestor).ok()?)));
    match existing.and_then(|(ancestor, real)| Some((real, path.strip_prefix(ancestor).ok()?))) {
        // To join nothing would end the path with a slash.
        Some((real, rest)) => real.components().chain(rest.components()).collect(),
        None => path.to_owned(),
    }
}

impl Host {
    /// The mounts.
    pub const fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// Whether no rule forbids to freeze the filesystem of a mount.
    pub fn may_freeze(&self, mount: &Mount) -> bool {
        self.rules.denial(&self.mounts, mount).is_none()
    }

    /// Resolves a group: `hooks` are its hooks, with the names they come after and where their data lies.
    ///
    /// # Errors
    /// Everything that stands in the way.
    pub fn plan(
        &self,
        group: &GroupSettings,
        hooks: &[(String, Vec<String>, Vec<DataPath>)],
    ) -> Result<Plan, Vec<Problem>> {
        let mut problems = Vec::new();
        let hooks = plan::order_hooks(hooks).unwrap_or_else(|error| {
            problems.push(Problem::from_error(&error));
            Vec::new()
        });
        let mut targets = BTreeMap::new();
        if let FilesystemSelection::Paths(paths) = &group.filesystems {
            for path in paths {
                match self.named_target(path) {
                    Ok(mount) => drop(targets.insert(mount.superblock, mount)),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        let (mut outside, mut data) = (Vec::new(), Data::new());
        let mut blocks = BlockStack::new(&self.root, &self.mounts);
        let stored = hooks.iter().flat_map(|hook| hook.data.iter().map(move |data| (hook, &data.path)));
        for (hook, path) in stored {
            match self.data_target(group, path, &targets) {
                Ok(mount) => {
                    targets.insert(mount.superblock, mount);
                    data.entry(mount.superblock).or_default().insert(path.clone());
                }
                Err(Refusal::Outside(reason)) => {
                    let (hook, path) = (hook.name.clone(), path.clone());
                    let stack = self.mounts.of(&path).map(|mount| below(&mut blocks, mount));
                    outside.push(Outside { hook, path, reason, stack: stack.unwrap_or_default() });
                }
                Err(Refusal::Problem(problem)) => {
                    problems.push(problem.within(format!("the data of hook {} cannot be held", hook.name)));
                }
            }
        }
        if hooks.is_empty() && targets.is_empty() && problems.is_empty() {
            problems.push(
                Problem::new("the group has neither a hook nor a filesystem, so there is nothing to hold")
                    .with_hint(Some("add a hook file to /etc/quiesced/conf.d, then run `quiesced plan`")),
            );
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let carried = self.carried(&mut blocks, &targets);
        if !carried.is_empty() {
            return Err(carried);
        }
        let filesystems = self.planned(&mut blocks, &targets, data)?;
        Ok(Plan { hooks, filesystems, outside })
    }

    /// What must stay writable and lies in a file on a target: the freeze of the file's filesystem stops it as well.
    fn carried(&self, blocks: &mut BlockStack<'_>, targets: &BTreeMap<Superblock, &Mount>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for place in self.rules.writable_places() {
            let Some(mount) = self.mounts.of(&place.path) else { continue };
            for device in below(blocks, mount).devices {
                let DeviceKind::Loop { file, filesystem: Some(filesystem) } = device.kind else { continue };
                let Some(target) = targets.get(&filesystem) else { continue };
                let (point, file, what) = (target.mount_point.display(), file.display(), &place.what);
                let problem = Problem::new(format!("{point} carries {what} in the file {file}"));
                problems.push(problem.with_hint(Some(format!("keep {file} elsewhere: losetup --list"))));
            }
        }
        problems.dedup();
        problems
    }

    /// The filesystem that a configuration names by its mount point.
    fn named_target(&self, path: &Path) -> Result<&Mount, Problem> {
        let mount = self.mounts.of(path).filter(|mount| mount.mount_point == path).ok_or_else(|| {
            Problem::new(format!("{} is not a mount point", path.display()))
                .with_hint(Some(format!("mount it, or look at `findmnt --target {}`", path.display())))
        })?;
        match self.rules.denial(&self.mounts, mount) {
            Some(denial) => Err(Problem::from_error(&denial).with_hint(Some(denial.hint()))),
            None => Ok(self.mounts.representative(mount.superblock).unwrap_or(mount)),
        }
    }

    /// The filesystem that a hook's data lies on, if it is to be frozen.
    fn data_target(
        &self,
        group: &GroupSettings,
        path: &Path,
        targets: &BTreeMap<Superblock, &Mount>,
    ) -> Result<&Mount, Refusal> {
        let mount = self.mounts.of(path).ok_or_else(|| {
            Refusal::Problem(Problem::new(format!("no mount is known for {}", path.display())))
        })?;
        let listed = targets.contains_key(&mount.superblock);
        if matches!(group.filesystems, FilesystemSelection::Paths(_)) && !listed {
            let point = mount.mount_point.display();
            return Err(Refusal::Outside(format!("{point} is not among the filesystems of the group")));
        }
        match self.rules.denial(&self.mounts, mount) {
            Some(denial @ quiesced_topology::Denial::ReadOnly { .. }) => {
                let problem = Problem::from_error(&denial).with_hint(Some(denial.hint()));
                Err(Refusal::Problem(problem))
            }
            Some(denial) => Err(Refusal::Outside(denial.to_string())),
            None => Ok(self.mounts.representative(mount.superblock).unwrap_or(mount)),
        }
    }

    fn planned(
        &self,
        blocks: &mut BlockStack<'_>,
        targets: &BTreeMap<Superblock, &Mount>,
        mut data: Data,
    ) -> Result<Vec<PlannedFilesystem>, Vec<Problem>> {
        let (mut stacks, mut problems) = (BTreeMap::new(), Vec::new());
        for target in targets.keys() {
            match blocks.under(*target) {
                Ok(stack) => drop(stacks.insert(*target, stack)),
                Err(error) => problems.push(topology_problem(error)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let ranks = freeze_ranks(&self.mounts, &stacks).map_err(|error| vec![topology_problem(error)])?;
        let mut planned: Vec<_> = targets
            .values()
            .map(|mount| PlannedFilesystem {
                mount_point: mount.mount_point.clone(),
                superblock: mount.superblock,
                fs_type: mount.fs_type.clone(),
                rank: ranks.get(&mount.superblock).copied().unwrap_or_default(),
                also_at: self.also_at(mount),
                data: data.remove(&mount.superblock).into_iter().flatten().collect(),
                stack: stacks.remove(&mount.superblock).unwrap_or_default(),
            })
            .collect();
        planned.sort_by(|a, b| (a.rank, &a.mount_point).cmp(&(b.rank, &b.mount_point)));
        Ok(planned)
    }

    fn also_at(&self, opened: &Mount) -> Vec<PathBuf> {
        let others = self.mounts.of_superblock(opened.superblock).filter(|mount| mount.id != opened.id);
        others.filter(|mount| self.mounts.is_visible(mount)).map(|mount| mount.mount_point.clone()).collect()
    }
}

/// The data of hooks by the filesystem that it lies on.
type Data = BTreeMap<Superblock, BTreeSet<PathBuf>>;

/// What a filesystem lies on that is not to be frozen: it stops nobody when that cannot be found out.
fn below(blocks: &mut BlockStack<'_>, mount: &Mount) -> Stack {
    blocks.under(mount.superblock).unwrap_or_else(|error| {
        let unknown = Volume::Unknown { device: mount.superblock.to_string(), why: error.to_string() };
        Stack { devices: Vec::new(), volumes: vec![unknown] }
    })
}

/// Why data of a hook is not frozen.
enum Refusal {
    /// It is quiesced without a freeze, and the verdict says so.
    Outside(String),
    /// The session cannot run.
    Problem(Problem),
}

impl Surveyor {
    /// Asks every hook of a runner where its data lies. Each answer is also a step of the session.
    ///
    /// # Errors
    /// What every hook that is not ready said, in the order of their names.
    pub async fn inspect(
        &self,
        runner: &mut Runner,
        names: &[String],
        deadline: BootTime,
    ) -> (Vec<StepReport>, Result<Vec<Vec<DataPath>>, Vec<Problem>>) {
        (0..names.len()).for_each(|hook| runner.inspect(hook, deadline));
        let mut data = vec![Vec::new(); names.len()];
        let (mut steps, mut problems) = (Vec::new(), BTreeMap::new());
        for _ in names {
            let done = runner.next().await;
            let Outcome::Inspected(timed) = done.outcome else { continue };
            let name = &names[done.hook];
            let (mut step, found) = steps::report(Step::Inspect, name, timed);
            step.failure = step.failure.map(|problem| self.placed(name, problem));
            problems.extend(step.failure.clone().map(|problem| (done.hook, problem)));
            steps.push(step);
            if let Some(Inspection { data_paths }) = found {
                data[done.hook] = data_paths;
            }
        }
        (steps, if problems.is_empty() { Ok(data) } else { Err(problems.into_values().collect()) })
    }

    /// The problem of a hook, with the place where the hook is configured.
    fn placed(&self, hook: &str, mut problem: Problem) -> Problem {
        let Some(place) = self.origins.of_table(&["hook", hook]) else { return problem };
        let place = format!("hook {hook} is configured at {place}");
        problem.hint = Some(problem.hint.map_or_else(|| place.clone(), |hint| format!("{hint}; {place}")));
        problem
    }

    /// The group of this name.
    ///
    /// # Errors
    /// When there is none, with the nearest name that there is.
    pub fn group(&self, name: &str) -> Result<&GroupSettings, Problem> {
        self.settings.group(name).ok_or_else(|| {
            let nearest = crate::config::nearest(name, self.settings.group.keys().map(String::as_str));
            let known = || self.settings.group.keys().cloned().collect::<Vec<_>>().join(", ");
            let hint = nearest
                .map_or_else(|| format!("known groups: {}", known()), |near| format!("did you mean {near}?"));
            Problem::new(format!("there is no group {name}")).with_hint(Some(hint))
        })
    }

    /// A runner for the hooks of a group, and their names.
    pub fn runner(&self, group: &GroupSettings, id: ExecutionId) -> (Runner, Vec<String>) {
        let hooks: Vec<NamedHook> = self
            .settings
            .hooks_of(group)
            .map(|(name, settings)| NamedHook {
                name: name.to_owned(),
                hook: build(settings),
                timeout: settings.common().timeout,
            })
            .collect();
        let names = hooks.iter().map(|hook| hook.name.clone()).collect();
        let runtime_dir = self.paths.runtime_dir.clone();
        let (records_dir, lease) = (self.paths.records(), self.settings.agent.lease);
        let session =
            SessionContext { execution_id: id, volumes: Vec::new(), runtime_dir, records_dir, lease };
        (Runner::new(session, hooks), names)
    }

    /// Resolves a group whose hooks have been inspected. Looks at paths of hooks, so it may block.
    ///
    /// # Errors
    /// Everything that stands in the way.
    pub fn resolve(
        &self,
        group: &GroupSettings,
        names: &[String],
        data: Vec<Vec<DataPath>>,
    ) -> Result<(Host, Plan), Vec<Problem>> {
        let host = self.host().map_err(|problem| vec![problem])?;
        let after = self.settings.hooks_of(group).map(|(_, settings)| settings.common().after.clone());
        let hooks: Vec<_> = names
            .iter()
            .cloned()
            .zip(after)
            .zip(data)
            .map(|((name, after), data)| {
                let real = |data: DataPath| DataPath { path: resolve(&data.path), ..data };
                let mut data: Vec<DataPath> = data.into_iter().map(real).collect();
                data.sort();
                // Whatever is stored there, it is one place.
                data.dedup_by(|a, b| a.path == b.path);
                (name, after, data)
            })
            .collect();
        let plan = host.plan(group, &hooks)?;
        Ok((host, plan))
    }

    /// The whole survey of a group: what a session would hold.
    ///
    /// # Errors
    /// Everything that stands in the way.
    pub async fn survey(self: &Arc<Self>, group_name: &str) -> Result<Plan, Vec<Problem>> {
        let group = self.group(group_name).map_err(|problem| vec![problem])?.clone();
        let (mut runner, names) = self.runner(&group, ExecutionId::NONE);
        let deadline = clock::now() + self.settings.agent.pre_script_budget;
        let (_, inspected) = self.inspect(&mut runner, &names, deadline).await;
        runner.close().await;
        let data = inspected?;
        let surveyor = Arc::clone(self);
        blocking(move || surveyor.resolve(&group, &names, data)).await?.map(|(_, plan)| plan)
    }

    /// A session that is open keeps every other one out, unless that would take its place.
    pub fn in_the_way(&self, open: &ExecutionId) -> Option<Problem> {
        let message = format!("{} is open: another pre-script is refused with 204", open.session());
        let hint = "run `quiesced status` to see it; it ends with its post-script or its lease";
        (self.settings.agent.on_conflict == OnConflict::Reject)
            .then(|| Problem::new(message).with_hint(Some(hint)))
    }

    /// What a dry-run answers while the session `open` is open.
    pub async fn dry_run(self: &Arc<Self>, group: &str, open: Option<&ExecutionId>) -> Reply {
        let checked = preflight::check(self, group, Path::new(OWN_BINARY)).await;
        let mut problems = checked.of(Severity::Error);
        problems.extend(open.and_then(|open| self.in_the_way(open)));
        let mut reply = if problems.is_empty() {
            Reply::new(ExitCode::Done, "everything is ready; nothing was touched")
        } else {
            Reply::new(ExitCode::NotReady, "preflight found something in the way")
        };
        reply.warnings = checked.of(Severity::Warning);
        reply.plan = checked.plan.filter(|_| problems.is_empty());
        reply.problems = problems;
        reply
    }
}

/// Does what may block on a thread of its own.
///
/// # Errors
/// When the work panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Vec<Problem>> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| vec![Problem::from_error(&error).within("a step of the agent was lost")])
}
