//! `natctl` as its users see it: tables, JSON, exit codes.

use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use crate::{Running, start};

fn natctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_natctl")).args(arguments).output().unwrap()
}

/// Runs a command that must succeed; its standard output.
fn shown(server: &Running, arguments: &[&str]) -> String {
    let socket = server.socket.to_str().unwrap();
    let output = natctl(&[&["--socket", socket], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tables_are_for_people() {
    let server = start();
    let status = shown(&server, &["status"]);
    assert!(status.contains("state          ready\n"), "{status}");
    assert!(status.contains("up             2h05m (pid 42)\n"), "{status}");
    assert!(status.contains("sessions       250 of 1000000\n"), "{status}");
    assert_eq!(
        shown(&server, &["drops"]),
        "REASON   OUTBOUND  INBOUND  TOTAL\n\
         no-rule         8        0      8\n\
         all             8        0      8\n"
    );
    assert_eq!(
        shown(&server, &["neighbors"]),
        "ADDRESS      MAC                INTERFACE  STATE         AGE\n\
         203.0.113.1  02:00:00:00:00:02  outside    reachable   1m01s\n\
         203.0.113.9  -                  outside    incomplete  1m01s\n"
    );
    assert_eq!(
        shown(&server, &["sessions", "--port", "1001"]),
        "PROTOCOL  INSIDE           OUTSIDE             REMOTE            STATE        AGE  EXPIRES  OUT  IN  POOL  WORKER\n\
         tcp       10.64.0.10:1001  203.0.113.10:40001  198.51.100.1:443  established   5s    2h03m   10  12  main       0\n"
    );
    assert_eq!(
        shown(&server, &["forwards"]),
        "ID                     KIND          PROTOCOL  OUTSIDE            INSIDE         FROM  WORKER\n\
         tcp-203.0.113.13-8080  port-forward  tcp       203.0.113.13:8080  10.64.0.12:80  file       1\n"
    );
    assert_eq!(shown(&server, &["forwards", "list"]), shown(&server, &["forwards"]));
    let cases = [
        ("interfaces", "up 10000 Mbit/s"),
        ("routes", "203.0.113.1"),
        ("pools", "203.0.113.10-203.0.113.12"),
        ("pools", "7+1 of 378 x 512"),
        ("subscribers", "1024-1535"),
        ("mappings", "203.0.113.10:40000"),
        ("counters", "direction=outbound protocol=tcp worker=1"),
    ];
    for (command, expected) in cases {
        let text = shown(&server, &[command]);
        assert!(text.contains(expected), "{command}: {text}");
    }
}

#[test]
fn whose_is_asked_both_ways() {
    let server = start();
    let table = "SUBSCRIBER  OUTSIDE       PORTS      POOL  KIND\n\
                 10.64.0.10  203.0.113.10  1024-1535  main  block\n";
    for of in ["10.64.0.10", "203.0.113.10:1500"] {
        assert_eq!(shown(&server, &["whose", of]), table);
    }
    assert_eq!(shown(&server, &["whose", "203.0.113.10:1536"]), "nobody has it to itself now\n");
    assert_eq!(natctl(&["whose", "203.0.113.10:x"]).status.code(), Some(2));
}

#[test]
fn all_shows_zeros() {
    let server = start();
    assert!(shown(&server, &["drops", "--all"]).lines().count() > 40);
    assert!(!shown(&server, &["counters"]).contains("hairpinned"));
    assert!(shown(&server, &["counters", "--all"]).contains("hairpinned"));
}

#[test]
fn a_listing_goes_through_pages_up_to_its_limit() {
    let server = start();
    assert_eq!(shown(&server, &["sessions"]).lines().count(), 1 + 100);
    assert_eq!(shown(&server, &["sessions", "--limit", "5000"]).lines().count(), 1 + 250);
    assert_eq!(
        shown(&server, &["sessions", "--limit", "5000", "--protocol", "udp"]).lines().count(),
        1 + 125
    );
}

#[test]
fn json_is_the_api_s() {
    let server = start();
    for command in ["status", "interfaces", "pools", "forwards", "drops", "sessions", "mappings", "counters"]
    {
        let printed: serde_json::Value = serde_json::from_str(&shown(&server, &[command, "--json"])).unwrap();
        assert_eq!(
            printed,
            crate::client::get(server.address, &format!("/api/v1/{command}")).json(),
            "{command}"
        );
    }
}

#[test]
fn a_url_does_as_well_as_the_socket() {
    let server = start();
    let output = natctl(&["--url", &format!("http://{}", server.address), "pools"]);
    assert_eq!(output.stdout, shown(&server, &["pools"]).as_bytes());
}

#[test]
fn refused_is_1_and_says_why() {
    let server = start();
    server.gateway.workers_hang.store(true, Ordering::Relaxed);
    let output = natctl(&["--socket", server.socket.to_str().unwrap(), "sessions"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"natctl: worker 1 did not answer in time\n");
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_usage_is_2() {
    let wrong: [&[&str]; 7] = [
        &[],
        &["dance"],
        &["sessions", "--port", "70000"],
        &["sessions", "--inside", "here"],
        &["sessions", "--limit", "0"],
        &["--url", "https://gateway", "status"],
        &["--url", "http://127.0.0.1:1", "--socket", "/nowhere", "status"],
    ];
    for arguments in wrong {
        assert_eq!(natctl(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn top_is_for_terminals_or_printed_once() {
    let server = start();
    let socket = ["--socket", server.socket.to_str().unwrap()];
    let output = natctl(&[&socket[..], &["top"]].concat());
    assert_eq!(output.status.code(), Some(2));
    let said = "natctl: standard input and output are no terminal; natctl top --once prints one screen\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), said);
    assert_eq!(natctl(&[&socket[..], &["--json", "top", "--once"]].concat()).status.code(), Some(2));
    let text = shown(&server, &["top", "--once"]);
    assert!(text.starts_with("nat-gateway 0.1.0, ready, up 2h05m; sessions 250 of 1000000"), "{text}");
    for said in ["\nINTERFACE↓", "\nno-rule ", "\n10.64.0.10 ", "\nmain  udp "] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(natctl(&["--socket", "/nonexistent", "top", "--once"]).status.code(), Some(3));
}

#[test]
fn no_gateway_is_3() {
    let output = natctl(&["--socket", "/nonexistent/control.sock", "status"]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("natctl: no gateway at /nonexistent/control.sock: No such file"), "{said}");
    assert_eq!(natctl(&["--url", "http://127.0.0.1:1", "status"]).status.code(), Some(3));
}

#[test]
fn something_else_that_answers_is_no_gateway() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno").unwrap();
    });
    assert_eq!(natctl(&["--url", &format!("http://{address}"), "status"]).status.code(), Some(3));
    other.join().unwrap();
}

#[test]
fn a_completion_script_needs_no_gateway() {
    let output = natctl(&["completions", "bash"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("sessions"));
}
