//! What is said of tests that did not run because a program is missing.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

/// What was missing, and the process that says so at the end.
static MISSING: Mutex<(BTreeSet<String>, Option<Child>)> = Mutex::new((BTreeSet::new(), None));

/// True if a program is there. Where it is missing, the last lines of the test's output say so;
/// with `CI` set that is a failure.
pub(crate) fn is_installed(program: &str, version: &str) -> bool {
    let quiet =
        Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let installed = quiet.is_ok_and(|status| status.success());
    if !installed {
        assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
        not_run(&format!("tests that need {program}, which is not installed"));
    }
    installed
}

/// Says in the last lines of the output what was not run, once.
///
/// The harness swallows what a test that passes prints, and nothing can be run after the last test.
/// So a shell is told, and says it when this process has ended.
pub(crate) fn not_run(what: &str) {
    let mut missing = MISSING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !missing.0.insert(what.to_owned()) {
        return;
    }
    let (_, shell) = &mut *missing;
    let shell = shell.get_or_insert_with(|| {
        // The lines reach it as they come; it prints them when there are no more. It uses nothing but
        // what is built in, for programs are missing.
        let script = r#"all=; while read -r line; do all="$all$line
"; done; printf '%s' "$all" >&2"#;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped());
        command.spawn().expect("there is a shell")
    });
    let stdin = shell.stdin.as_mut().expect("it is piped");
    writeln!(stdin, "NOT RUN: {what}").expect("the shell reads");
}
