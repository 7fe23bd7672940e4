//! Logs, on standard error.

use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Begins to log. `RUST_LOG` says how much; without it `DEBUG=symple:*`, as with the Node server,
/// asks for debug logs.
pub(crate) fn init(format: LogFormat) {
    let debug = std::env::var("DEBUG").is_ok_and(|names| wants_debug(&names));
    let fallback = if debug { "debug" } else { "info" };
    let filter = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::new(filter.as_deref().unwrap_or(fallback));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(is_terminal()).with_target(false).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

/// True if one of the names is that of all of Symple, or of everything.
fn wants_debug(names: &str) -> bool {
    names.split([',', ' ']).any(|name| name == "*" || name.starts_with("symple"))
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
}
