//! Puts a manifest on each target, or takes away the one of an earlier session, which would name that one.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use quiesced_core::plan::Plan;
use quiesced_core::problem::Problem;
use quiesced_core::report::{Step, StepReport};
use quiesced_core::session::Progress;
use quiesced_freezer::clock;
use quiesced_freezer::target::Directory;
use quiesced_hooks::Prepared;
use quiesced_hooks::settings::HookSettings;

use super::{Job, Opened};
use crate::daemon::manifest::{self, MANIFEST_VERSION, Manifest, ManifestHook};
use crate::daemon::steps;

/// What is to be done on one target.
#[derive(Debug)]
enum Task {
    Write(Box<Manifest>),
    Remove { why: Option<&'static str> },
}

impl Job {
    /// Nothing that goes wrong here fails a session.
    pub(super) async fn write_manifests(
        &self,
        plan: &Plan,
        opened: &Opened,
        prepared: &[Prepared],
    ) -> Result<(), Vec<Problem>> {
        // On a made-up host there is nothing to write to.
        let Opened::Real(targets) = opened else { return Ok(()) };
        let hooks = self.manifest_hooks(plan, prepared);
        let mut tasks = JoinSet::new();
        for (planned, target) in plan.filesystems.iter().zip(targets) {
            let (mount_point, target) = (planned.mount_point.clone(), Arc::clone(&target.filesystem));
            let task = self.task(plan, &hooks, &mount_point);
            tasks.spawn_blocking(move || run(&mount_point, &target, &task));
        }
        while let Some(done) = tasks.join_next().await {
            let step = done.map_err(|error| vec![Problem::from_error(&error)])?;
            if let Some(problem) = step.as_ref().and_then(|step| step.failure.clone()) {
                drop(self.notes.send(Progress::Warned(problem)));
            }
            self.note(step.into_iter().collect());
        }
        Ok(())
    }

    fn manifest_hooks(&self, plan: &Plan, prepared: &[Prepared]) -> Vec<ManifestHook> {
        let kind = |name: &str| self.surveyor.settings.hook.get(name).map(HookSettings::kind);
        let one = |(hook, prepared): (&quiesced_core::plan::PlannedHook, &Prepared)| ManifestHook {
            name: hook.name.clone(),
            kind: kind(&hook.name).unwrap_or_default().to_owned(),
            data: hook.data.clone(),
            positions: prepared.positions.clone(),
        };
        plan.hooks.iter().zip(prepared).map(one).collect()
    }

    fn task(&self, plan: &Plan, hooks: &[ManifestHook], mount_point: &Path) -> Task {
        if !self.surveyor.settings.report.manifest {
            return Task::Remove { why: None };
        }
        if manifest::would_disturb(hooks, mount_point) {
            let why = "not written: a server there would take its folder for a database";
            return Task::Remove { why: Some(why) };
        }
        Task::Write(Box::new(Manifest {
            version: MANIFEST_VERSION,
            execution_id: self.report.execution_id.clone(),
            group: self.report.group.clone(),
            written_at: crate::wall_clock(),
            agent_version: crate::VERSION.to_owned(),
            mount_point: mount_point.to_owned(),
            volumes: plan.volume_ids(),
            hooks: hooks.to_vec(),
        }))
    }
}

/// The step, if there is anything to tell.
fn run(mount_point: &Path, target: &Directory, task: &Task) -> Option<StepReport> {
    let began = clock::now();
    let (done, note) = match task {
        Task::Write(manifest) => (manifest::write(target, manifest), None),
        Task::Remove { why } => (manifest::remove(target), *why),
    };
    if done.is_ok() && note.is_none() && matches!(task, Task::Remove { .. }) {
        return None;
    }
    let point = mount_point.display();
    let failure = done.err().map(|error| {
        Problem::from_error(&error)
            .within(format!("{point} has no manifest"))
            .with_hint(Some(format!("look at `ls -la {point}/.quiesced` and `df -h {point}`")))
    });
    let step = steps::plain(Step::Manifest, &point.to_string(), began, clock::now());
    Some(StepReport { note: note.map(str::to_owned), failure, ..step })
}
