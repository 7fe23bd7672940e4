//! Logs, on standard error.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    cell::Cell,
    io::{self, IsTerminal as _, Write},
    panic::PanicHookInfo,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tracing::Level;
use tracing_subscriber::{
    EnvFilter,
    filter::{Directive, LevelFilter},
    fmt::MakeWriter,
};

use crate::{settings::LogFormat, stderr, text::one_line};

/// The most characters of foreign text that a line repeats.
const FOREIGN: usize = 300;
/// The longest line of a text log, in characters.
const MAX_LINE: usize = 4096;

/// Whether logging has begun.
static BEGUN: AtomicBool = AtomicBool::new(false);
/// Whether it is in JSON: then whoever reads it takes no line that is anything else.
static JSON: AtomicBool = AtomicBool::new(false);

/// Begins to log. `RUST_LOG` says how much; without it `DEBUG=symple:*`, as with the Node server,
/// asks for debug logs.
pub(crate) fn init(format: LogFormat) {
    let debug = std::env::var("DEBUG").is_ok_and(|names| wants_debug(&names));
    let fallback = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, ignored) = filter(&wanted, fallback);
    let ansi = format == LogFormat::Text && io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LogLines { format, ansi })
        // It would be said on standard error at once, which can block and panic.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => logs.with_ansi(ansi).with_target(false).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    BEGUN.store(true, Ordering::Relaxed);
    for directive in ignored {
        tracing::warn!("RUST_LOG: '{}' is ignored, for it makes no sense", shown(directive));
    }
}

/// The filter from the environment, and the parts of it that cannot be parsed.
fn filter(wanted: &str, fallback: LevelFilter) -> (EnvFilter, Vec<&str>) {
    // `EnvFilter::new` says on standard error what it ignores.
    let mut ignored = Vec::new();
    let directives: Vec<Directive> = wanted
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
        .filter_map(|directive| directive.parse().map_err(|_| ignored.push(directive)).ok())
        .collect();
    let default = if directives.is_empty() { fallback } else { LevelFilter::ERROR };
    let filter = EnvFilter::builder().with_default_directive(default.into());
    let filter = filter.parse("").unwrap_or_default();
    (directives.into_iter().fold(filter, EnvFilter::add_directive), ignored)
}

/// True if one of the names is that of all of Symple, or of everything.
fn wants_debug(names: &str) -> bool {
    names.split([',', ' ']).any(|name| name == "*" || name.starts_with("symple"))
}

/// Foreign text in the form that a line may have.
fn shown(text: &str) -> String {
    one_line(text, FOREIGN)
}

/// Logs that lines are missing.
pub(crate) fn lost(count: u64) {
    let lines = if count == 1 { "log line was" } else { "log lines were" };
    let text = format!("{count} {lines} dropped: standard error was stuck, or full");
    if BEGUN.load(Ordering::Relaxed) && tracing::enabled!(Level::WARN) {
        tracing::warn!(count, "{text}");
    } else if is_json() {
        tracing::error!(count, "{text}");
    } else {
        stderr::write(format!("symple: {text}\n"));
    }
}

/// Reports why the program ends: as a person reads it, or in a log of JSON if there is one.
pub(crate) fn fail(problem: &str) {
    if is_json() {
        tracing::error!("{}", shown(problem));
    } else {
        stderr::write(format!("symple: {}\n", shown(problem)));
    }
}

/// True if there is a log of JSON that has errors.
fn is_json() -> bool {
    JSON.load(Ordering::Relaxed) && tracing::enabled!(Level::ERROR)
}

/// Makes panics appear in the log.
pub(crate) fn watch_panics() {
    std::panic::set_hook(Box::new(|info| {
        thread_local! {
            static PANICKING: Cell<bool> = const { Cell::new(false) };
        }
        let (message, place) = describe(info);
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        // The code that writes log lines may be what panics.
        let again = PANICKING.replace(true);
        // RUST_BACKTRACE=1 asks for it.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        if !again && is_json() {
            let backtrace = backtrace.as_ref().map(tracing::field::display);
            tracing::error!(thread = name, place, backtrace, "panicked: {message}");
            return PANICKING.set(again);
        }
        if !again && BEGUN.load(Ordering::Relaxed) && tracing::enabled!(Level::ERROR) {
            tracing::error!(thread = name, place, "panicked: {message}");
        } else {
            stderr::write(format!("symple: thread {name} panicked at {place}: {message}\n"));
        }
        if let Some(backtrace) = backtrace {
            stderr::write(backtrace.to_string());
        }
        PANICKING.set(again);
    }));
}

/// The message of a panic, and its place in the code.
fn describe(info: &PanicHookInfo<'_>) -> (String, String) {
    let text = info.payload().downcast_ref::<&str>().copied();
    let text = text.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("for an unknown reason");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    (shown(message), place)
}

/// Log lines on their way to standard error.
#[derive(Clone, Copy)]
struct LogLines {
    format: LogFormat,
    ansi: bool,
}

impl MakeWriter<'_> for LogLines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for LogLines {
    /// Takes a line, as the subscriber writes it: whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr::write(match self.format {
            LogFormat::Json => line.to_vec(),
            LogFormat::Text => plain(line, self.ansi),
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line of a text log that is one line, whatever it repeats, and of a bounded length.
fn plain(line: &[u8], ansi: bool) -> Vec<u8> {
    let line = String::from_utf8_lossy(line);
    let line = line.strip_suffix('\n').unwrap_or(&line);
    // These colours are the subscriber's own. It removes those in foreign text.
    let is_ours = |c: char| ansi && c == '\x1b';
    let mut text = crate::text::escape(line, MAX_LINE, is_ours);
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_names() {
        for (names, wanted) in [
            ("symple:*", true),
            ("*", true),
            ("a,symple:server", true),
            ("express:*", false),
            ("", false),
        ] {
            assert_eq!(wants_debug(names), wanted, "{names}");
        }
    }

    #[test]
    fn filters() {
        for (wanted, expected, bad) in [
            ("", "info", &[][..]),
            ("warn", "warn", &[]),
            ("symple_driver=debug,info", "symple_driver=debug,info", &[]),
            ("symple_driver=loud", "info", &["symple_driver=loud"]),
            ("warn, a b=[,symple=trace", "symple=trace,warn", &["a b=["]),
        ] {
            let (filter, ignored) = filter(wanted, LevelFilter::INFO);
            assert_eq!((&*filter.to_string(), &*ignored), (expected, bad), "{wanted}");
        }
    }

    /// What panics says so in the log, as the log is written. The hook and the log are those of a
    /// whole process, so that this test has one of its own.
    #[test]
    fn what_panics_is_in_the_log() {
        const CHILD: &str = "A_PROCESS_THAT_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let _last = stderr::Flush;
            watch_panics();
            let panics = |text: &'static str| {
                let thread = thread::Builder::new().name("worker".into());
                assert!(thread.spawn(move || panic!("{text}")).unwrap().join().is_err());
            };
            panics("before");
            init(LogFormat::Json);
            panics("a\nb");
            return;
        }
        let name = "logging::tests::what_panics_is_in_the_log";
        let seen = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .env_remove("RUST_LOG")
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let text = String::from_utf8(seen.stderr).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let place = "symple-cli/src/logging.rs:";
        let before = format!("symple: thread worker panicked at {place}");
        assert!(lines[0].starts_with(&before) && lines[0].ends_with(": before"), "{text}");
        let logged: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!((&logged["level"], &logged["thread"]), (&"ERROR".into(), &"worker".into()));
        assert_eq!(logged["message"], "panicked: a\\nb");
        assert!(logged["place"].as_str().unwrap().starts_with(place), "{text}");
        assert_eq!(lines.len(), 2, "{text}");
    }

    /// Whatever a log line repeats, it is one line.
    #[test]
    fn a_line_is_one_line() {
        let line = |text: &str| String::from_utf8(plain(text.as_bytes(), false)).unwrap();
        assert_eq!(line("a\nb\r\x1b[31mc\n"), "a\\nb\\r\\u{1b}[31mc\n");
        assert!(line(&"x".repeat(100_000)).len() < 5000);
        assert_eq!(plain(b"\x1b[31ma\n", true), b"\x1b[31ma\n");
    }
}
