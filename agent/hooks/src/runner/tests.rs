use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::hook::StepContext;

type Log = Arc<Mutex<Vec<String>>>;

/// A hook that does what its name says, and leaves a trace.
struct Scripted {
    name: &'static str,
    log: Log,
}

impl Scripted {
    fn note(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{} {what}", self.name));
    }
}

#[async_trait]
impl Hook for Scripted {
    async fn inspect(&mut self, _step: &StepContext) -> Result<Inspection, HookError> {
        Ok(Inspection::default())
    }

    async fn quiesce(&mut self, _step: &StepContext) -> Result<(), HookError> {
        self.note("quiesce");
        match self.name {
            "hangs" => std::future::pending().await,
            "panics" => panic!("the hook has a defect"),
            "fails" => Err(crate::error::SessionError::NotRunning.into()),
            _ => Ok(()),
        }
    }

    async fn verify(&mut self, _step: &StepContext) -> Result<Proof, HookError> {
        self.note("verify");
        if self.name == "loses" {
            return Err(crate::error::SessionError::NotRunning.into());
        }
        Ok(Proof::Proved { how: "it is a test".into() })
    }

    async fn resume(&mut self, _step: &StepContext) -> Result<(), HookError> {
        self.note("resume");
        Ok(())
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);

fn runner(names: &[&'static str], timeout: Duration) -> (Runner, Log) {
    let log = Log::default();
    let hooks = names.iter().map(|name| NamedHook {
        name: (*name).to_owned(),
        hook: Box::new(Scripted { name, log: Arc::clone(&log) }),
        timeout,
    });
    let session = SessionContext {
        execution_id: ExecutionId::NONE,
        volumes: vec![],
        runtime_dir: std::env::temp_dir(),
        records_dir: std::env::temp_dir(),
        lease: TIMEOUT,
    };
    (Runner::new(session, hooks.collect()), log)
}

fn soon() -> BootTime {
    crate::clock::now() + TIMEOUT
}

async fn quiesced(runner: &mut Runner) -> Result<(), HookError> {
    match runner.next().await.outcome {
        Outcome::Quiesced(timed) => timed.result,
        other => panic!("{other:?}"),
    }
}

async fn released(runner: &mut Runner) -> Released {
    match runner.next().await.outcome {
        Outcome::Released(released) => released,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_hook_that_hangs_does_not_keep_the_others_waiting() {
    let (mut runner, _) = runner(&["hangs", "works"], TIMEOUT);
    runner.quiesce(0, soon());
    runner.quiesce(1, soon());
    let first = runner.next().await;
    assert_eq!(first.hook, 1);
}

#[tokio::test]
async fn a_step_that_takes_too_long_is_given_up_and_the_hook_is_still_resumed() {
    let (mut runner, log) = runner(&["hangs"], Duration::from_millis(100));
    runner.quiesce(0, soon());
    assert!(matches!(quiesced(&mut runner).await, Err(HookError::TimedOut { .. })));
    runner.release(0, Some(soon()));
    let released = released(&mut runner).await;
    assert!(released.verify.is_none(), "what never held is not asked for proof");
    released.resume.result.unwrap();
    assert_eq!(*log.lock().unwrap(), ["hangs quiesce", "hangs resume"]);
}

#[tokio::test]
async fn the_deadline_of_the_session_counts_as_well_as_the_timeout_of_the_hook() {
    let (mut runner, _) = runner(&["hangs"], Duration::from_secs(3600));
    runner.quiesce(0, crate::clock::now() + Duration::from_millis(100));
    assert!(matches!(quiesced(&mut runner).await, Err(HookError::TimedOut { .. })));
}

#[tokio::test]
async fn a_cancelled_step_is_answered_and_the_hook_is_still_resumed() {
    let (mut runner, log) = runner(&["hangs"], TIMEOUT);
    runner.quiesce(0, soon());
    tokio::time::sleep(Duration::from_millis(50)).await;
    runner.cancel(0);
    assert!(matches!(quiesced(&mut runner).await, Err(HookError::Cancelled { .. })));
    runner.release(0, Some(soon()));
    released(&mut runner).await.resume.result.unwrap();
    assert!(log.lock().unwrap().contains(&"hangs resume".to_owned()));
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_step_and_the_hook_is_still_resumed() {
    let (mut runner, log) = runner(&["panics"], TIMEOUT);
    runner.quiesce(0, soon());
    let error = quiesced(&mut runner).await.unwrap_err();
    assert!(error.to_string().contains("the hook has a defect"), "{error}");
    runner.release(0, Some(soon()));
    released(&mut runner).await.resume.result.unwrap();
    assert!(log.lock().unwrap().contains(&"panics resume".to_owned()));
}

#[tokio::test]
async fn a_hook_that_cannot_prove_its_hold_is_resumed_all_the_same() {
    let (mut runner, log) = runner(&["loses"], TIMEOUT);
    runner.quiesce(0, soon());
    quiesced(&mut runner).await.unwrap();
    runner.release(0, Some(soon()));
    let released = released(&mut runner).await;
    released.verify.unwrap().proof.result.unwrap_err();
    released.resume.result.unwrap();
    assert_eq!(*log.lock().unwrap(), ["loses quiesce", "loses verify", "loses resume"]);
}

#[tokio::test]
async fn a_failed_quiesce_counts_as_held_and_is_resumed_without_proof() {
    let (mut runner, log) = runner(&["fails"], TIMEOUT);
    runner.quiesce(0, soon());
    assert!(quiesced(&mut runner).await.is_err());
    runner.release(0, Some(soon()));
    assert!(released(&mut runner).await.verify.is_none());
    assert_eq!(*log.lock().unwrap(), ["fails quiesce", "fails resume"]);
}
