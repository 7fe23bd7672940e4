//! `symple check-config`

use std::io::{self, Write as _};

use crate::{
    Failure,
    serve::{addresses, check},
    settings::{SETTINGS, Settings, Source},
};

/// Prints every setting, its value and where it came from.
pub(crate) fn run(settings: &Settings, source: &Source) -> Result<(), Failure> {
    check(settings)?;
    let width = |text: fn(&'static str, &Source) -> usize| {
        SETTINGS.iter().map(|setting| text(setting.name, source)).max().unwrap_or(0)
    };
    let names = width(|name, _| name.len());
    let values = width(|name, source| source.get(name).0.chars().count()).clamp(7, 40);
    let mut text = String::new();
    for setting in SETTINGS {
        let (value, origin) = source.get(setting.name);
        let value = if value.is_empty() { "-" } else { value };
        text += &format!("{:names$}  {value:values$}  {origin}\n", setting.name);
    }
    text += &format!("\nlistens on {}\n", addresses(settings).join(", "));
    // Whoever reads this may have read enough.
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::crash(error)),
        _ => Ok(()),
    }
}
