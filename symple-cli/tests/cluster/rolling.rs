//! A rolling restart behind nginx, with clients that stay and come back when they are closed.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::{Client, on_each_runtime, processes::balancer};

/// How many clients stay.
const CLIENTS: usize = 60;

/// The status of nginx's answer to a WebSocket handshake, which then ends.
fn handshake(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// R-C2, R-T2: with the balancer's configuration of the three-node page nobody is refused while the
/// nodes are restarted one after the other: who is closed finds another node at once, at every
/// moment of the restart. Each client that is there stays connected otherwise, so that no
/// connection ends which nginx could learn from.
#[test]
fn a_rolling_restart_behind_a_balancer() {
    on_each_runtime(|mut cluster| {
        let Some(nginx) = balancer(&cluster.nodes) else { return };
        let connect = |n: usize| Client::connect(nginx.address, &format!("user{n}"), &["team"]);
        let mut clients: Vec<_> = (0..CLIENTS).map(connect).collect();
        for node in 0..cluster.nodes.len() {
            let address = cluster.nodes[node].address;
            let code = cluster.nodes[node].signal("TERM").wait();
            assert_eq!(code, Some(0), "SPEC §12");
            // While the node is away, whoever was on it comes back; and so do more who look.
            let mut moved = 0;
            for (n, client) in clients.iter_mut().enumerate() {
                if !client.is_open() {
                    moved += 1;
                    *client = connect(n);
                }
            }
            assert!(moved > 0, "nobody was on the node that was restarted");
            for _ in 0..CLIENTS {
                assert_eq!(handshake(nginx.address), "101", "while {address} is away");
            }
            cluster.replace_at(node, address);
            for _ in 0..CLIENTS {
                assert_eq!(handshake(nginx.address), "101", "{address} is back");
            }
        }
        let everyone: Vec<_> = clients.iter().collect();
        for client in &everyone {
            client.sees(&everyone);
        }
    });
}
