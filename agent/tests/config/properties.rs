//! Whatever stands in a file, loading ends with settings or with errors that can be shown.

use proptest::prelude::*;
use quiesced::config::show;

use crate::support::{Host, QUEUE};

/// Half of the lines of a configuration, mixed with lines that are none.
fn text() -> impl Strategy<Value = String> {
    let known = QUEUE.lines().chain(["[agent]", "lease = \"20s\"", "[group.default]", "hooks = [\"queue\"]"]);
    let known: Vec<String> = known.map(str::to_owned).collect();
    let line = prop_oneof![3 => proptest::sample::select(known), 1 => "\\PC{0,20}", 1 => "[\\[\\]={}\"'a\u{e9}\r\t#.,\u{0}]{0,12}"];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

fn settles(host: &Host) -> Result<(), TestCaseError> {
    match host.load() {
        Ok(loaded) => prop_assert_eq!(Host::with(show(&loaded, true)).settings(), loaded.settings),
        Err(errors) => {
            prop_assert!(!errors.findings().is_empty());
            for colour in [false, true] {
                prop_assert!(errors.render(colour).contains("error"));
            }
            prop_assert!(errors.findings().iter().all(|finding| finding.line.is_some()));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        settles(&Host::with(bytes))?;
    }

    #[test]
    fn broken_configurations_never_panic(first in text(), second in text()) {
        let host = Host::new();
        host.write("lib/a.toml", first);
        host.write("etc/b.toml", second);
        settles(&host)?;
    }
}
