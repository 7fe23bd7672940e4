//! Puts what was expected of a connection and what was seen side by side.

use serde_json::Value;

use crate::{compare::Bindings, transcript::Event, world::Seen};

/// What an expected or a seen event costs that has no counterpart; a pair that differs costs less
/// if both are of the same kind, and more if they are not.
const ALONE: u32 = 3;

/// A place in the two lists, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    Same(usize, usize),
    Changed(usize, usize),
    Missing(usize),
    More(usize),
}

/// The type of a frame, and of whom it tells.
fn kind(text: &str) -> String {
    let frame: Value = serde_json::from_str(text).unwrap_or_default();
    let user = frame["from"].as_str().and_then(|from| from.split_once('|'));
    let (user, _) = user.unwrap_or_default();
    format!("{} {} {user} {}", frame["type"], frame["id"], frame["data"]["online"])
}

fn cost(event: &Event, seen: &Seen, bindings: &Bindings) -> u32 {
    match (event, seen) {
        (Event::Recv(_, expected), Seen::Text(_, text)) => {
            if bindings.clone().accept(expected, text) {
                0
            } else if kind(expected) == kind(text) {
                1
            } else {
                2 * ALONE + 1
            }
        }
        (Event::ServerClose(_, one), Seen::Close(_, other)) => u32::from(one != other),
        (Event::Pong(_, one), Seen::Pong(_, other)) if one == other => 0,
        (Event::ServerExit(one), Seen::Exit(other)) => u32::from(one != other),
        _ => 2 * ALONE + 1,
    }
}

/// True if the seen event takes the place of the expected one, although it differs.
pub(crate) fn is_of_kind(event: &Event, seen: &Seen, bindings: &Bindings) -> bool {
    cost(event, seen, bindings) == 1
}

/// Pairs the two lists as cheaply as possible, and learns the ids of the pairs.
pub(crate) fn align(expected: &[Event], seen: &[Seen], bindings: &mut Bindings) -> Vec<Pair> {
    let (rows, columns) = (expected.len(), seen.len());
    let mut best = vec![vec![0; columns + 1]; rows + 1];
    for row in (0..=rows).rev() {
        for column in (0..=columns).rev() {
            let mut options = Vec::new();
            if row < rows {
                options.push(best[row + 1][column] + ALONE);
            }
            if column < columns {
                options.push(best[row][column + 1] + ALONE);
            }
            if row < rows && column < columns {
                let both = cost(&expected[row], &seen[column], bindings);
                options.push(best[row + 1][column + 1] + both);
            }
            best[row][column] = options.into_iter().min().unwrap_or(0);
        }
    }
    let mut pairs = Vec::new();
    let (mut row, mut column) = (0, 0);
    while row < rows || column < columns {
        // Ids that were learned on the way can only make a pair cheaper.
        let both = (row < rows && column < columns)
            .then(|| cost(&expected[row], &seen[column], bindings))
            .filter(|both| best[row][column] >= best[row + 1][column + 1] + both);
        if let Some(both) = both {
            bindings.learn(&expected[row], &seen[column]);
            pairs.push(match both {
                0 => Pair::Same(row, column),
                _ => Pair::Changed(row, column),
            });
            row += 1;
            column += 1;
        } else if column < columns
            && (row == rows || best[row][column] == best[row][column + 1] + ALONE)
        {
            pairs.push(Pair::More(column));
            column += 1;
        } else {
            pairs.push(Pair::Missing(row));
            row += 1;
        }
    }
    pairs
}
