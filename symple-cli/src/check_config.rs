//! `symple check-config`

use crate::{
    Failure,
    input::print,
    serve::{check, places},
    settings::{SETTINGS, Settings, Source, places::PlaceAddress},
    warn, warn_of,
};

/// Prints every setting, its value and where it came from.
pub(crate) fn run(settings: &Settings, source: &Source) -> Result<(), Failure> {
    warn(source);
    check(settings)?;
    source.without_effect().iter().for_each(|warning| warn_of(warning));
    let width = |text: fn(&'static str, &Source) -> usize| {
        SETTINGS.iter().map(|setting| text(setting.name, source)).max().unwrap_or(0)
    };
    let names = width(|name, _| name.len());
    let values = width(|name, source| source.shown(name).chars().count()).clamp(7, 40);
    let mut text = String::new();
    for setting in SETTINGS {
        let (value, (_, origin)) = (source.shown(setting.name), source.get(setting.name));
        text += &format!("{:names$}  {value:values$}  {origin}\n", setting.name);
    }
    let listens: Vec<_> = places(settings)
        .into_iter()
        .map(|place| match place.address {
            // As it always was.
            PlaceAddress::Tcp(address) if settings.places.is_empty() => address,
            _ => place.to_string(),
        })
        .collect();
    text += &format!("\nlistens on {}\n", listens.join(", "));
    print(&text)
}
