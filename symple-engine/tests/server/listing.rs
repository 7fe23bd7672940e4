//! Lists in pages of bounded effort (R-I1).

use std::collections::BTreeSet;

use crate::common::{Node, config};
use symple_engine::server::{Config, HostCall, ListCursor, PeerFilter, PresenceMode, Server};

/// The effort of a page in these tests.
const EFFORT: usize = 4096;
/// The most that the last peer of a page takes beyond it here: few rooms, and a short record.
const ONE_PEER: usize = 32;

/// The ids of all who are listed, and how many pages that took.
fn listed(server: &Server, filter: &PeerFilter, limit: usize) -> (Vec<String>, usize) {
    let (mut ids, mut from, mut pages) = (Vec::new(), ListCursor::default(), 0);
    loop {
        let page = server.list_peers(filter, from, limit, EFFORT);
        assert!(page.entries.len() <= limit);
        assert!(page.effort <= EFFORT + ONE_PEER, "{}", page.effort);
        ids.extend(page.entries.iter().map(|peer| peer.address.id.to_string()));
        pages += 1;
        match page.next {
            Some(next) => {
                assert!(next > from, "a list goes on");
                from = next;
            }
            None => return (ids, pages),
        }
    }
}

fn by(change: impl FnOnce(&mut PeerFilter)) -> PeerFilter {
    let mut filter = PeerFilter::default();
    change(&mut filter);
    filter
}

/// R-I1: 50 000 peers are listed in pages, each once, and no page looks at more places than it
/// may, whatever is wanted and however rare it is.
#[test]
fn fifty_thousand_peers_in_pages() {
    let mut node = Node::new(Config::default());
    for number in 0..50_000 {
        // A room with all would tell each of all.
        let room = format!("r{}", number / 100);
        node.peer(&format!("u{number}"), &[&room]);
    }
    let (ids, pages) = listed(&node.server, &PeerFilter::default(), 1000);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 50_000);
    assert_eq!(ids.len(), 50_000);
    assert!(pages >= 50, "{pages}");
    for (filter, count, most_pages) in [
        (by(|filter| filter.user = Some("u49999".into())), 1, 20),
        (by(|filter| filter.search = Some("U4999".into())), 11, 40),
        // Those of a room are found without a look at all others.
        (by(|filter| filter.room = Some("r7".into())), 100, 1),
        (by(|filter| filter.room = Some("nowhere".into())), 0, 1),
        (by(|filter| filter.node = Some("nobody".into())), 0, 1),
        (by(|filter| filter.search = Some("nobody".into())), 0, 40),
    ] {
        let (ids, pages) = listed(&node.server, &filter, 1000);
        assert_eq!(ids.len(), count, "{filter:?}");
        assert!(pages <= most_pages, "{filter:?} took {pages}");
    }
    let (mut names, mut from) = (BTreeSet::new(), ListCursor::default());
    loop {
        let page = node.server.list_rooms(None, from, 1000, EFFORT);
        assert!(page.effort <= EFFORT + ONE_PEER);
        names.extend(page.entries.into_iter().map(|room| room.name));
        let Some(next) = page.next else { break };
        from = next;
    }
    // Each peer is in the room of its user, too.
    assert_eq!(names.len(), 50_500);
}

/// R-I1: a peer that is there all the time is listed once, whoever comes and goes meanwhile, in
/// rooms, too, and also in those that are too large to be looked through at once.
#[test]
fn peers_come_and_go_while_they_are_listed() {
    for (count, limit) in [(300, 7), (17_000, 1000)] {
        // Who joins a room later tells nobody, so that many can be in one.
        let mut node = Node::new(config(|config| config.presence = PresenceMode::Classic));
        let mut conns = Vec::new();
        for number in 0..count {
            let conn = node.peer(&format!("u{number}"), &[]);
            let page = node.server.list_peers(
                &by(|filter| filter.room = Some(format!("u{number}"))),
                ListCursor::default(),
                1,
                1,
            );
            let id = page.entries[0].address.id.as_str();
            node.host(HostCall::Join { peer: id, room: "all" }).unwrap();
            node.forget();
            conns.push(conn);
        }
        for filter in [PeerFilter::default(), by(|filter| filter.room = Some("all".into()))] {
            let stay = node.server.local_peers().filter(|peer| peer.conn.slot % 3 != 0);
            let mut stay: BTreeSet<_> = stay.map(|peer| peer.address.id.to_string()).collect();
            let mut seen = BTreeSet::new();
            let (mut from, mut turn) = (ListCursor::default(), 0);
            loop {
                let page = node.server.list_peers(&filter, from, limit, EFFORT);
                for peer in &page.entries {
                    let id = peer.address.id.as_str();
                    assert!(seen.insert(id.to_owned()), "{id} is listed twice");
                    stay.remove(id);
                }
                let Some(next) = page.next else { break };
                from = next;
                // One goes, mostly one that was listed: in the room another one takes its place.
                let slot = (turn * 3) % count;
                turn += 1;
                if let Some(at) = conns.iter().position(|conn| conn.slot == slot) {
                    let gone = conns.swap_remove(at);
                    node.disconnect(gone);
                    node.forget();
                }
            }
            assert!(stay.is_empty(), "{} were not listed", stay.len());
        }
    }
}

/// R-I1: a search looks at users, ids and names, and case counts for letters beyond ASCII only.
#[test]
fn searches() {
    let mut node = Node::new(Config::default());
    node.auth(r#"{"type":"auth","user":"alice","name":"Älice \"A\" \u0042"}"#);
    node.auth(r#"{"type":"auth","user":"bob","name":5}"#);
    for (text, count) in [
        ("ALI", 1),
        ("", 2),
        ("ob", 1),
        ("Älice", 1),
        ("älice", 0),
        (r#""a" b"#, 1),
        ("2000", 1),
        ("0000", 2),
        ("hidden", 0),
    ] {
        let filter = by(|filter| filter.search = Some(text.into()));
        assert_eq!(listed(&node.server, &filter, 10).0.len(), count, "{text}");
    }
    assert_eq!(node.server.list_rooms(Some("BO"), ListCursor::default(), 9, 9).entries.len(), 1);
    assert!(node.server.find_in_cluster("nobody").is_none());
    assert_eq!(node.server.find_room("bob").unwrap().members, 1);
    assert!(node.server.find_room("carol").is_none());
}
