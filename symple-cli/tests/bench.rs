//! Each workload, tiny, against a server: does it see what there is to be seen? (No test looks at
//! how fast anything is.)

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;

/// A server without a limit of rate.
struct Server {
    child: Child,
    url: String,
    /// The API for operators, if it is asked for.
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "there is none"))]
    admin: Option<String>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_symple"))
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .env_clear()
            .args(["serve", "--host", "127.0.0.1", "--port", "0", "--rate-limit", "0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        // Where the API for operators is asked for, that comes first.
        let mut greeting = String::new();
        while !greeting.contains("ws://") {
            assert!(log.read_line(&mut greeting).unwrap() > 0, "{greeting}");
        }
        let address = |scheme: &str| {
            let start = greeting.find(scheme)?;
            greeting[start..].split_whitespace().next().map(str::to_owned)
        };
        let (url, admin) = (address("ws://").unwrap(), address("http://"));
        // Nobody may have to wait for this log to be read.
        thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { child, url, admin }
    }

    /// What the server has counted under this name, with these labels; 0 where that is not there.
    #[cfg(feature = "admin")]
    fn counted(&self, sample: &str) -> u64 {
        use std::io::Write as _;

        let admin = self.admin.as_deref().unwrap().strip_prefix("http://").unwrap();
        let mut socket = TcpStream::connect(admin).unwrap();
        write!(socket, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let line = answer.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Waits until it is so, which nobody tells.
    #[cfg(feature = "admin")]
    fn until(&self, sample: &str, value: u64) {
        let begun = std::time::Instant::now();
        while self.counted(sample) != value {
            let now = self.counted(sample);
            assert!(begun.elapsed().as_secs() < 20, "{sample} is {now}, not {value}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit code, standard output, standard error.
fn bench(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_symple"))
        .env_clear()
        .arg("bench")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The reports of a workload that went well.
fn reports(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let pid = server.child.id().to_string();
    let common = ["--url", &server.url, "--pid", &pid, "--seconds", "1", "--warm-up", "0.1"];
    let (code, stdout, stderr) = bench(&[arguments, &common, &["--json"]].concat());
    assert_eq!(code, 0, "{stderr}{stdout}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["exact"], true);
    for report in document["reports"].as_array().unwrap() {
        assert!(report["rate"].as_f64().unwrap() > 0.0, "{report}");
        if cfg!(target_os = "linux") {
            assert!(report["server"]["cpu_us_per_unit"].as_f64().unwrap() > 0.0, "{report}");
            assert!(report["server"]["memory_after"].as_u64().unwrap() > 0, "{report}");
        }
    }
    document["reports"].as_array().unwrap().clone()
}

/// All that was expected was delivered; how much that was.
fn delivered(report: &Value) -> u64 {
    let deliveries = &report["deliveries"];
    assert_eq!(deliveries["delivered"], deliveries["expected"]);
    for fault in ["lost", "duplicated", "reordered", "misdelivered"] {
        assert_eq!(deliveries[fault], 0, "{fault}");
    }
    assert!(report["latency"]["p50"].as_f64().unwrap() > 0.0);
    deliveries["delivered"].as_u64().unwrap()
}

#[test]
fn fan_out() {
    let server = Server::start(&[]);
    for pace in [["--window", "3"], ["--rate", "200"]] {
        let arguments = [&["fan-out", "--receivers", "5", "--senders", "2"], &pace[..]].concat();
        let reports = reports(&server, &arguments);
        // Each message is received by all but its sender.
        let count = delivered(&reports[0]);
        assert!(count > 0 && count.is_multiple_of(6));
        assert_eq!(reports[0]["workload"], "fan-out");
        assert_eq!(reports[0]["parameters"]["receivers"], 5);
    }
}

#[test]
fn direct() {
    let server = Server::start(&[]);
    for pace in [["--window", "2"], ["--rate", "200"]] {
        let reports = reports(&server, &[&["direct", "--pairs", "3"], &pace[..]].concat());
        assert!(delivered(&reports[0]) > 0);
    }
}

#[test]
fn connect_and_disconnect() {
    let server = Server::start(&[]);
    let reports = reports(&server, &["connect", "--count", "100"]);
    assert_eq!([&reports[0]["workload"], &reports[1]["workload"]], ["connect", "disconnect"]);
    assert_eq!([&reports[0]["units"], &reports[1]["units"]], [100, 100]);
}

#[test]
fn mixed() {
    let server = Server::start(&[]);
    let arguments = ["mixed", "--clients", "20", "--rooms", "4", "--rates", "3,9"];
    let reports = reports(&server, &arguments);
    assert_eq!(reports.len(), 2);
    for report in &reports {
        assert!(delivered(report).is_multiple_of(4));
    }
    assert_eq!(reports[1]["parameters"]["rate"], 9.0);
}

#[test]
fn idle() {
    let server = Server::start(&[]);
    let reports = reports(&server, &["idle", "--count", "300", "--source-addresses", "3"]);
    assert_eq!(reports[0]["units"], 300);
    // The broadcast reached each of them.
    assert_eq!(delivered(&reports[0]), 300);
}

/// R-I2: what the metrics say is what the ledgers of the workloads say: each message in and out, each peer,
/// each connection and its end, also where several threads have the sockets. Nothing but the messages of a
/// workload is a `message`, and a ledger has those of the warm-up, too.
#[cfg(feature = "admin")]
#[test]
fn the_metrics_agree_with_the_ledgers() {
    const IN: &str = r#"symple_frames_total{direction="in",type="message"}"#;
    const OUT: &str = r#"symple_frames_total{direction="out",type="message"}"#;
    const AUTH: &str = r#"symple_frames_total{direction="in",type="auth"}"#;
    const ADMITTED: &str = r#"symple_authentications_total{result="admitted"}"#;
    const NAMES: [&str; 5] = [IN, OUT, AUTH, ADMITTED, "symple_connections_opened_total"];
    for threads in ["1", "3"] {
        let server = Server::start(&["--threads", threads, "--admin", "127.0.0.1:0"]);
        // How many clients there are, and how many receive each message.
        let workloads: [(&[&str], u64, Option<u64>); 6] = [
            (&["fan-out", "--receivers", "5", "--senders", "2", "--window", "3"], 7, Some(6)),
            (&["fan-out", "--receivers", "5", "--senders", "2", "--rate", "200"], 7, Some(6)),
            (&["direct", "--pairs", "3", "--window", "2"], 6, Some(1)),
            (&["mixed", "--clients", "20", "--rooms", "4", "--rates", "3,9"], 2 * 20, Some(4)),
            // A message names 256 rooms at most.
            (&["idle", "--count", "300", "--source-addresses", "3"], 301, None),
            // Fifty are there before.
            (&["connect", "--count", "100"], 50 + 100, None),
        ];
        for (arguments, clients, receivers) in workloads {
            let before = NAMES.map(|name| server.counted(name));
            let reports = reports(&server, arguments);
            server.until("symple_connections", 0);
            let counted: Vec<_> = NAMES
                .iter()
                .zip(before)
                .map(|(name, before)| server.counted(name) - before)
                .collect();
            let [sent, delivered_by_server, auths, admitted, opened] = counted[..] else {
                unreachable!()
            };
            let deliveries = reports.iter().filter(|report| report["deliveries"].is_object());
            let by_ledger: u64 = deliveries.map(delivered).sum();
            assert_eq!(delivered_by_server, by_ledger, "{arguments:?}");
            match receivers {
                Some(receivers) => assert_eq!(sent * receivers, by_ledger, "{arguments:?}"),
                None => assert_eq!(sent, by_ledger.div_ceil(256), "{arguments:?}"),
            }
            assert_eq!([auths, admitted, opened], [clients; 3], "{arguments:?}");
        }
        assert_eq!(server.counted(r#"symple_refusals_total{reason="slow_reader"}"#), 0);
        assert_eq!(server.counted("symple_peers"), 0);
    }
}

/// R-L4: who does not read is closed with 4429, and the others lose nothing.
#[test]
fn slow() {
    let server = Server::start(&["--outbound-limit", "1048576"]);
    let arguments = ["slow", "--receivers", "3", "--rate", "3000", "--payload", "8000"];
    let reports = reports(&server, &arguments);
    delivered(&reports[0]);
    let notes = &reports[0]["notes"];
    assert_eq!((&notes["slow_closed"], &notes["slow_close_code"]), (&true.into(), &4429.into()));
}

#[test]
fn soak() {
    let server = Server::start(&[]);
    let arguments = ["soak", "--clients", "10", "--rooms", "2", "--rate", "20", "--churn", "30"];
    let reports = reports(&server, &arguments);
    assert!(delivered(&reports[0]) > 0);
    let notes = &reports[0]["notes"];
    assert!(notes["came"].as_u64().unwrap() > 0);
    assert_eq!(notes["parts"].as_array().unwrap().len(), 30);
}

/// R-P2, R-P3, R-X2: in each storm all rosters are right in the end, with batches and without; and a
/// room beside it loses nothing.
#[test]
fn storm() {
    let server = Server::start(&[]);
    for batches in [&[][..], &["--roster"]] {
        let arguments = [&["storm", "--count", "30", "--stay", "10"], batches].concat();
        let reports = reports(&server, &arguments);
        assert_eq!(reports.len(), 3);
        for (report, kind) in reports.iter().zip(["come", "leave", "flap"]) {
            assert_eq!(report["parameters"]["kind"], kind);
            assert!(delivered(report) > 0, "{report}");
            let notes = &report["notes"];
            assert!(notes["rosters_right_after_seconds"].as_f64().unwrap() > 0.0, "{report}");
            assert!(notes["bytes_read"].as_u64().unwrap() > 0, "{report}");
            assert_eq!(notes["closed_by_the_server"], 0);
            match kind {
                // Each is told of each other one, singly or in batches.
                "come" if batches.is_empty() => assert_eq!(report["units"], 30 * 29),
                "come" => assert!(report["units"].as_u64().unwrap() < 30 * 29),
                // Of those that left the ones that stay are told.
                "leave" => assert!(report["units"].as_u64().unwrap() <= 10 * 20),
                _ => assert!(notes["flaps"].as_u64().unwrap() > 0, "{report}"),
            }
        }
    }
}

/// A server that tells nobody of those who come.
#[test]
fn a_server_that_tells_nobody() {
    let server = Server::start(&["--presence", "classic"]);
    let arguments = ["storm", "--count", "5", "--kind", "come", "--seconds", "1"];
    let (code, _, stderr) =
        bench(&[&arguments[..], &["--patience", "1", "--url", &server.url]].concat());
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("the roster of client "), "{stderr}");
}

#[test]
fn what_people_see() {
    let server = Server::start(&[]);
    let url = ["--url", &server.url, "--seconds", "1"];
    let (code, stdout, stderr) = bench(&[&["direct", "--pairs", "1"], &url[..]].concat());
    assert_eq!((code, &*stderr), (0, ""));
    assert!(stdout.contains(" 0 lost, 0 duplicated, 0 reordered, 0 misdelivered"), "{stdout}");
}

#[test]
fn what_makes_no_sense() {
    for (arguments, expected) in [
        (&["fan-out", "--url", "http://127.0.0.1/"][..], "must begin with ws://"),
        (&["mixed", "--clients", "7", "--rooms", "2"], "a multiple of rooms"),
        (&["fan-out", "--receivers", "0"], "0 is not in 1.."),
        (&["slow", "--rate", "-1"], "error: "),
        (&["idle", "--pid", "4294967295"], "cannot watch process"),
    ] {
        let (code, _, stderr) = bench(arguments);
        assert!(code == 2 && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

/// What ends a run: nobody listens, the server refuses, or is stuck, or loses messages.
#[test]
fn a_server_that_fails() {
    let fails = |url: &str| {
        let arguments =
            ["fan-out", "--receivers", "1", "--seconds", "1", "--patience", "1", "--url", url];
        let (code, stdout, stderr) = bench(&arguments);
        assert_eq!((code, &*stdout), (1, ""), "{stderr}");
        stderr
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    assert!(fails(&url).contains("the server is stuck: it has welcomed nobody"));
    drop(listener);
    let stderr = fails(&url);
    assert!(stderr.starts_with(&format!("symple: cannot connect to {url}: ")), "{stderr}");
    assert!(stderr.lines().count() == 1, "{stderr}");

    let server = Server::start(&["--path", "/only"]);
    let stderr = fails(&server.url.replace("/only", ""));
    assert!(stderr.contains("refused a connection: HTTP/1.1 404"), "{stderr}");
}

/// A server that welcomes everyone and relays nothing but every second message.
#[test]
fn a_server_that_loses_messages() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        let accept = || {
            let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
            socket.read().unwrap();
            let welcome = r#"{"type":"welcome","peer":{"id":"1"}}"#;
            socket.send(tungstenite::Message::text(welcome)).unwrap();
            socket
        };
        let (mut receiver, mut sender): (_, tungstenite::WebSocket<TcpStream>) =
            (accept(), accept());
        for number in 0.. {
            let Ok(message) = sender.read() else { break };
            if number % 2 == 1 && receiver.send(message).is_err() {
                break;
            }
        }
    });
    let arguments = ["--seconds", "1", "--warm-up", "0.1", "--patience", "1", "--json"];
    let workload = ["fan-out", "--receivers", "1", "--rate", "100", "--url", &url];
    let (code, stdout, stderr) = bench(&[workload, arguments].concat());
    assert_eq!(code, 1);
    assert!(stderr.contains("messages were lost"), "{stderr}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let deliveries = &document["reports"][0]["deliveries"];
    assert_eq!(document["exact"], false);
    let count = |name: &str| deliveries[name].as_u64().unwrap();
    assert_eq!(count("lost") + count("delivered"), count("expected"));
    assert!(count("lost") > 0 && count("duplicated") == 0);
}

/// The comparison, with nobody to compare to: files, pictures, and a page with the figures in it.
#[test]
fn a_comparison() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compare");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let page = folder.join("page.md");
    let arguments = |page: &str| {
        let only = ["--only", "direct,connect", "--repeats", "2", "--seconds", "1"];
        let out = ["--out", folder.to_str().unwrap(), "--page", page];
        [&["compare"], &only[..], &out].concat().iter().map(ToString::to_string).collect()
    };
    let compare = |page: &str| {
        let arguments: Vec<String> = arguments(page);
        bench(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    std::fs::write(&page, "no marks").unwrap();
    let (code, _, stderr) = compare(page.to_str().unwrap());
    assert!(code == 2 && stderr.contains("page.md has no <!-- figures -->"), "{stderr}");

    std::fs::write(&page, "before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter").unwrap();
    let (code, stdout, stderr) = compare(page.to_str().unwrap());
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("| disconnect | connection | – |"), "{stdout}");
    let text = std::fs::read_to_string(&page).unwrap();
    assert_eq!(text, format!("before\n<!-- figures -->\n{stdout}<!-- end of figures -->\nafter"));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("table.md"), stdout);
    for picture in ["cpu.svg", "latency.svg"] {
        assert!(read(picture).starts_with("<svg") && read(picture).contains("</svg>"));
    }
    let results: Value = serde_json::from_str(&read("results.json")).unwrap();
    assert_eq!(results["runs"].as_array().unwrap().len(), 4);
}
