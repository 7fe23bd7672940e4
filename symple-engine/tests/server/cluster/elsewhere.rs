//! What a node tells of peers of other nodes (R-I1).

use std::time::Duration;

use super::{Pair, clustered};
use symple_engine::server::{Input, ListCursor, PeerFilter};

fn events(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| line.contains("Elsewhere {")).collect()
}

/// R-I1: each change with a peer is told once by each node that is asked to, as an event of the
/// node itself or of another one; and nothing is told where nobody asks.
#[test]
fn each_change_is_told_once() {
    let mut pair = Pair::new(&clustered());
    pair.b.server.set_remote_events(true);
    let alice = pair.a.auth(r#"{"type":"auth","user":"alice","rooms":["team"]}"#);
    pair.settle();
    for text in [
        r#"{"type":"join","room":"other"}"#,
        r#"{"type":"join","room":"other"}"#,
        r#"{"type":"leave","room":"team"}"#,
        r#"{"type":"presence","data":{"status":"busy"}}"#,
    ] {
        pair.a.text(alice, text);
        pair.settle();
    }
    pair.a.disconnect(alice);
    pair.settle();
    let told = events(pair.b.seen()).join("\n");
    insta::assert_snapshot!(told);
    assert!(events(pair.a.seen()).is_empty());
}

/// R-I1: the peers of a node that is gone are told to be offline, once each, with the node's id and
/// why, whether it shut down or was lost.
#[test]
fn peers_of_a_node_that_is_gone() {
    for dead in [true, false] {
        let mut pair = Pair::new(&clustered());
        pair.b.server.set_remote_events(true);
        let id = pair.a.server.node_id().unwrap().to_owned();
        let alice = pair.a.peer("alice", &["team"]);
        pair.settle();
        pair.forget();
        if dead {
            // Nothing is heard of it any more.
            pair.b.pass(Duration::from_secs(60));
        } else {
            pair.a.input(Input::Shutdown { drain: Duration::ZERO }).unwrap();
            pair.settle();
            pair.a.disconnect(alice);
            pair.settle();
        }
        let told = events(pair.b.seen());
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("Offline") && told[0].contains(&*id.replace(&"0".repeat(19), "…")),
            "{told:?}"
        );
        assert_eq!(told[0].contains("NodeLost"), dead, "{told:?}");
        let page = pair.b.server.list_peers(&PeerFilter::default(), ListCursor::default(), 9, 99);
        assert!(page.entries.is_empty() && page.next.is_none());
    }
}

/// R-I1: lists have the peers of all nodes, or those of one; and other nodes know who is read-only.
#[test]
fn lists_of_all_nodes() {
    let mut pair = Pair::new(&clustered());
    pair.a.peer("alice", &["team"]);
    let bob = pair.b.peer("bob", &["team"]);
    pair.settle();
    let (a, b) = (pair.a.server.node_id().unwrap(), pair.b.server.node_id().unwrap());
    for (node, users) in
        [(None, vec!["alice", "bob"]), (Some(a), vec!["alice"]), (Some(b), vec!["bob"])]
    {
        let filter = PeerFilter { node: node.map(Into::into), ..PeerFilter::default() };
        let page = pair.a.server.list_peers(&filter, ListCursor::default(), 9, 99);
        let listed: Vec<_> = page.entries.iter().map(|peer| peer.address.user.as_str()).collect();
        assert_eq!(listed, users);
        assert!(
            page.entries
                .iter()
                .all(|peer| peer.node.is_none() == (peer.address.user.as_str() == "alice"))
        );
    }
    let node = pair.a.server.cluster_nodes().next().unwrap();
    assert_eq!((&*node.id, node.peers), (b, 1));
    // It has just been heard; it is silent when nothing of what it says arrives.
    assert!(node.silence < Duration::from_secs(2), "{node:?}");
    let b = b.to_owned();
    pair.a.pass(Duration::from_secs(3));
    let node = pair.a.server.cluster_nodes().next().unwrap();
    assert!(*node.id == *b && node.silence >= Duration::from_secs(3), "{node:?}");
    assert_eq!(pair.a.server.find_room("team").unwrap().members, 2);
    pair.b.disconnect(bob);
    pair.settle();
    assert_eq!(pair.a.server.cluster_nodes().map(|node| node.peers).sum::<usize>(), 0);
}
