//! A machine on which nothing of this project is installed, with a clone of the repository.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::{
    missing::{is_installed, not_run},
    page::root,
};

/// Says when a line of a file has a text in it: `await FILE TEXT PID`. Fails when the process has ended,
/// or after a minute, which is longer than anything takes.
const AWAIT: &str = r#"#!/bin/bash
while read -r line; do
  case $line in *"$2"*) exit 0 ;; esac
done < <(timeout 60 tail -n +1 -f --pid="$3" "$1" 2>/dev/null)
echo "$1 never says: $2" >&2
exit 1
"#;

/// Runs a program. What would run until Ctrl-C goes on in the background as soon as it is ready, as if
/// the reader had opened another terminal: `launch PROGRAM SIGNAL READY ARGUMENT…`. What a script has
/// put into the background itself has no standard input, and stays what it is.
const LAUNCH: &str = r#"#!/bin/bash
program=$1 signal=$2 ready=$3
shift 3
if [ "$(readlink /proc/self/fd/0)" = /dev/null ]; then
  echo "$signal $$" >> "$BOX/running"
  exec "$program" "$@"
fi
log=$BOX/logs/$$
"$program" "$@" > "$log" 2>&1 < /dev/null &
pid=$!
echo "$signal $pid" >> "$BOX/running"
ln -sf "$log" "$BOX/logs/last"
await "$log" "$ready" "$pid"
status=$?
cat "$log"
exit $status
"#;

/// The program as it is installed. Names of commands decide: only these two have no end of their own.
const SYMPLE: &str = r#"#!/bin/bash
case $1 in
  serve) exec launch PROGRAM TERM 'listens on' "$@" ;;
  listen) exec launch PROGRAM TERM 'online as' "$@" ;;
  *) exec PROGRAM "$@" ;;
esac
"#;

/// Cargo, which has built everything already. A command that is not known is a fault of the page, or
/// of this list.
const CARGO: &str = r#"#!/bin/bash
install() { mkdir -p "$(dirname "$1")" && cp "$BOX/symple" "$1"; }
case "$*" in
  'build --release -p symple-cli') install target/release/symple ;;
  'install --path symple-cli --locked') install "$HOME/.cargo/bin/symple" ;;
  'run --release -p symple-cli -- '*) exec "$BOX/symple" "${@:6}" ;;
  'run -p symple-conformance -- record '*) exec launch CONFORMANCE INT 'recording from' "${@:5}" ;;
  'run -p symple-conformance -- '*) exec CONFORMANCE "${@:5}" ;;
  'test --workspace') echo 'this is one of all tests' ;;
  *) echo "cargo $* is not known here" >&2; exit 2 ;;
esac
"#;

/// What the driver of a page begins with. Nobody else has its ports, its processes or its files.
const PRELUDE: &str = r#"#!/bin/bash
ip link set lo up || exit
case $BOX in /tmp/*) ;; *) mount -t tmpfs none /tmp || exit ;; esac
cd "$BOX/clone" || exit
if command -v symple; then echo 'symple is installed'; exit 1; fi
# Ends what blocks before have left running, as the reader does with Ctrl-C.
stop() {
  while read -r signal pid; do
    kill -s "$signal" "$pid" 2>/dev/null && tail --pid="$pid" -f /dev/null
  done < "$BOX/running"
  : > "$BOX/running"
}
run() { bash -e "$1" >> "$OUT" 2>&1 < "$BOX/stdin" || { echo "$1 has failed: $?" >> "$OUT"; exit 1; }; }
"#;

/// A step of a page: a block, what must be there before it, and what looks at what came of it.
pub(crate) struct Step<'a> {
    pub(crate) before: &'a str,
    pub(crate) block: &'a str,
    pub(crate) after: &'a str,
}

pub(crate) struct Sandbox {
    folder: PathBuf,
    unshare: &'static [&'static str],
}

impl Sandbox {
    /// Makes one; none where the system has no namespaces, or a program is missing.
    pub(crate) fn new(name: &str, programs: &[(&str, &str)]) -> Option<Self> {
        let unshare = isolation()?;
        if !programs.iter().all(|(program, version)| is_installed(program, version)) {
            return None;
        }
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("commands").join(name);
        let _ = fs::remove_dir_all(&folder);
        for inside in ["bin", "home", "logs", "clone"] {
            fs::create_dir_all(folder.join(inside)).unwrap();
        }
        for entry in fs::read_dir(root()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "target" && entry.file_name() != ".git" {
                symlink(entry.path(), folder.join("clone").join(entry.file_name())).unwrap();
            }
        }
        for file in ["running", "stdin"] {
            fs::write(folder.join(file), "").unwrap();
        }
        let program = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        program("bin/await", AWAIT);
        program("bin/launch", LAUNCH);
        program("bin/cargo", &CARGO.replace("CONFORMANCE", &quoted(&conformance())));
        let symple = Path::new(env!("CARGO_BIN_EXE_symple"));
        program("symple", &SYMPLE.replace("PROGRAM", &quoted(symple)));
        Some(Self { folder, unshare })
    }

    /// Carries out all steps, each in a shell of its own and with these variables; what each has printed.
    pub(crate) fn run(&self, steps: &[Step<'_>], variables: &[(&str, &Path)]) -> Vec<String> {
        let mut driver = PRELUDE.to_owned();
        for (n, Step { before, block, after }) in steps.iter().enumerate() {
            // A server needs the port of the one before it.
            if block.contains(" serve") || before.contains(" serve") {
                driver += "stop\n";
            }
            driver += &format!("export OUT=$BOX/out-{n}\n");
            for (name, script) in [("before", before), ("block", block), ("after", after)] {
                let file = format!("{name}-{n}.sh");
                fs::write(self.folder.join(&file), script).unwrap();
                driver += &format!("run \"$BOX/{file}\"\n");
            }
        }
        driver += "stop\n";
        fs::write(self.folder.join("driver"), driver).unwrap();
        let path = format!(
            "{}:{}:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
            self.folder.join("bin").display(),
            self.folder.join("home/.cargo/bin").display(),
        );
        // What hangs is a failure; how long the rest takes is none.
        let Output { status, stdout, stderr } = Command::new("timeout")
            .args(["-k", "5", "600", "unshare"])
            .args(self.unshare)
            .arg("bash")
            .arg(self.folder.join("driver"))
            .env_clear()
            .env("PATH", path)
            .env("BOX", &self.folder)
            .env("HOME", self.folder.join("home"))
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let printed: Vec<_> = (0..steps.len())
            .map(|n| fs::read(self.folder.join(format!("out-{n}"))).unwrap_or_default())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect();
        assert!(
            status.success(),
            "{status} {}{} {printed:#?}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
        printed
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

/// How a page is kept apart: with a network, processes and files of its own, so that the ports of the
/// text can be used as they stand, and all processes end with it.
fn isolation() -> Option<&'static [&'static str]> {
    const ROOT: &[&str] = &["-npf", "--mount-proc", "--kill-child"];
    const USER: &[&str] = &["-rnpf", "--mount-proc", "--kill-child"];
    let works = |arguments: &&&[&str]| {
        let mut command = Command::new("unshare");
        let tried = command.args(**arguments).args(["ip", "link", "set", "lo", "up"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let found = [ROOT, USER].iter().find(works).copied();
    if found.is_none() {
        // With CI set, too: a container that forbids namespaces cannot be helped by a package.
        not_run("the command blocks of the pages, for which unshare and ip must work");
    }
    found
}

/// The program `symple-conformance`, built if it is not.
fn conformance() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_symple")).parent().unwrap();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(root()).args(["build", "--locked", "--offline", "-p", "symple-conformance"]);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    let built = build.arg("--target-dir").arg(folder.parent().unwrap()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    folder.join("symple-conformance")
}
