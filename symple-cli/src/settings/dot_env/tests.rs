use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    why: String,
    text: String,
    variables: BTreeMap<String, String>,
}

/// SPEC §11: `.env` is read as the Node server reads it. What each text of `cases.json` means was
/// written down by dotenv 16.6.1 itself: `require('dotenv').parse(text)`, its members sorted.
#[test]
fn the_dialect_of_dotenv_16() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("cases.json")).unwrap();
    assert!(cases.len() >= 40);
    for Case { why, text, variables } in cases {
        let seen: BTreeMap<_, _> = parse(&text).into_iter().collect();
        assert_eq!(seen, variables, "{why}: {text:?}");
    }
}

/// However a text is made to be tried again and again, it is read in no time.
#[test]
fn texts_that_are_hard_to_read() {
    const COUNT: usize = 20_000;
    for part in [
        "A='",
        "A=\"\\\"",
        "A=`\n",
        "A=' \n",
        "export ",
        "export\n",
        "a\n",
        "a ",
        "\n",
        "A=\\'",
        "A='\\'",
        "A='x\u{2028}",
        "'x\u{2028}",
        "A='b'c\n",
        "A:",
        "A: \n",
        "#\n",
        "A=b\u{2028}'",
    ] {
        let text = part.repeat(COUNT);
        assert!(parse(&text).len() <= COUNT, "{part:?}");
        assert!(parse(&format!("A='{text}")).len() <= COUNT + 1, "{part:?}");
    }
}
