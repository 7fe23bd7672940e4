//! The page that shows the figures.

use std::{fs, io, path::Path};

const BEGIN: &str = "<!-- figures -->\n";
const END: &str = "<!-- end of figures -->";

/// Where the figures are in a page.
fn place(text: &str) -> Option<(usize, usize)> {
    let begin = text.find(BEGIN)? + BEGIN.len();
    Some((begin, begin + text[begin..].find(END)?))
}

/// A page must have its marks.
pub(crate) fn check(page: &Path) -> Result<(), String> {
    let text = fs::read_to_string(page)
        .map_err(|error| format!("cannot read {}: {error}", page.display()))?;
    let missing = || format!("{} has no {} and {END}", page.display(), BEGIN.trim());
    place(&text).map(|_| ()).ok_or_else(missing)
}

/// Puts the figures into the page, in the place of those that are there.
pub(crate) fn replace(page: &Path, figures: &str) -> io::Result<()> {
    let mut text = fs::read_to_string(page)?;
    if let Some((begin, end)) = place(&text) {
        text.replace_range(begin..end, figures);
    }
    fs::write(page, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        let page = "a\n<!-- figures -->\nold\n<!-- end of figures -->\nb";
        assert_eq!(place(page).map(|(begin, end)| &page[begin..end]), Some("old\n"));
        assert_eq!(place("<!-- figures -->\n"), None);
    }
}
