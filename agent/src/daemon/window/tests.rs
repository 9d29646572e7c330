//! The window over filesystems that are not there.

use std::path::PathBuf;

use quiesced_core::block::Stack;
use quiesced_core::id::ExecutionId;
use quiesced_core::plan::PlannedFilesystem;
use quiesced_core::superblock::Superblock;
use quiesced_freezer::guardian::Target;
use quiesced_freezer::journal::{JOURNAL_VERSION, Record, Thing};
use quiesced_freezer::simulated::{Fault, Simulated};
use quiesced_hooks::SessionContext;

use super::*;

struct Scene {
    window: Window,
    filesystem: Arc<Simulated>,
    runtime_dir: tempfile::TempDir,
}

impl Scene {
    fn new(filesystem: Simulated) -> Self {
        let (mount_point, superblock) = (PathBuf::from("/data"), Superblock { major: 259, minor: 1 });
        let planned = PlannedFilesystem {
            mount_point: mount_point.clone(),
            superblock,
            fs_type: "ext4".to_owned(),
            rank: 0,
            also_at: Vec::new(),
            data: Vec::new(),
            stack: Stack::default(),
        };
        let plan = Plan { filesystems: vec![planned], ..Plan::default() };
        let filesystem = Arc::new(filesystem);
        let lease_ends = clock::now() + Duration::from_secs(60);
        let target = Target { filesystem: Arc::clone(&filesystem), rank: 0 };
        let guardian = Guardian::simulate(&[target], lease_ends).unwrap();
        let runtime_dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let session = SessionContext {
            execution_id: ExecutionId::NONE,
            volumes: Vec::new(),
            runtime_dir: runtime_dir.path().to_owned(),
            records_dir: runtime_dir.path().to_owned(),
            lease: Duration::from_secs(60),
        };
        let record = Record {
            version: JOURNAL_VERSION,
            boot_id: clock::boot_id().unwrap(),
            execution_id: ExecutionId::NONE,
            agent: ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap(),
            guardian: None,
            lease_ends,
            things: vec![Thing::Filesystem { mount_point, superblock, st_dev: 0 }],
        };
        let journal = Journal::create(runtime_dir.path(), &record).unwrap();
        let runner = Runner::new(session, Vec::new());
        let filesystems: Vec<Arc<dyn Filesystem>> = vec![Arc::clone(&filesystem) as _];
        let window = Window::new(
            &plan,
            runner,
            guardian,
            filesystems,
            journal,
            Vec::new(),
            Stillness::new(Vec::new()),
        )
        .unwrap();
        Self { window, filesystem, runtime_dir }
    }

    /// What the window says next about its filesystem.
    async fn next(&mut self) -> Progress {
        loop {
            match self.window.next().await {
                Happening::Progress(progress) if !matches!(*progress, Progress::Noted(_)) => {
                    return *progress;
                }
                Happening::Progress(_) => {}
                cleared @ Happening::Cleared { .. } => panic!("{cleared:?}"),
            }
        }
    }

    fn journaled(&self) -> Status {
        Journal::read(self.runtime_dir.path()).unwrap().unwrap().1[0]
    }
}

fn frozen_by_other() -> Simulated {
    let filesystem = Simulated::new(None);
    filesystem.freeze().unwrap();
    filesystem
}

#[tokio::test]
async fn what_somebody_else_has_frozen_is_not_thawed_in_the_place_of_a_dead_guardian() {
    let mut scene = Scene::new(frozen_by_other());
    scene.window.freeze();
    assert!(matches!(scene.next().await, Progress::Frozen { by_other: true, .. }));
    assert_eq!(scene.journaled(), Status::NotHeld);
    scene.window.guardian = None;
    scene.window.thaw();
    let settled = scene.next().await;
    assert!(matches!(settled, Progress::Settled { end: FreezeEnd::NeverFrozen, .. }), "{settled:?}");
    assert!(scene.filesystem.is_frozen());
}

#[tokio::test]
async fn what_was_never_ordered_to_freeze_is_not_thawed() {
    let mut scene = Scene::new(frozen_by_other());
    scene.window.guardian = None;
    scene.window.freeze();
    assert_eq!(scene.journaled(), Status::NotHeld, "nor by a recovery");
    scene.window.thaw();
    assert!(matches!(scene.next().await, Progress::Settled { end: FreezeEnd::NeverFrozen, .. }));
    assert!(scene.filesystem.is_frozen());
}

#[tokio::test]
async fn what_is_frozen_is_thawed_in_the_place_of_a_dead_guardian() {
    let mut scene = Scene::new(Simulated::new(None));
    scene.window.freeze();
    assert!(matches!(scene.next().await, Progress::Frozen { by_other: false, .. }));
    // Its thread thaws at the end of file; then the agent finds it thawed.
    scene.window.guardian = None;
    scene.window.thaw();
    assert!(matches!(scene.next().await, Progress::Settled { .. }));
    assert!(!scene.filesystem.is_frozen());
    assert_eq!(scene.journaled(), Status::Released);
}

#[tokio::test]
async fn a_guardian_that_is_done_is_let_go_although_a_thaw_failed() {
    let mut scene = Scene::new(Simulated::new(Some(Fault::ThawFails)));
    scene.window.freeze();
    assert!(matches!(scene.next().await, Progress::Frozen { .. }));
    scene.window.thaw();
    assert!(matches!(scene.next().await, Progress::Settled { end: FreezeEnd::Residue, .. }));
    assert!(scene.window.guardian.is_none(), "whoever tries again must not wait for it");
    assert_eq!(scene.journaled(), Status::Held);
}
