//! Routes, problem documents, paging, limits, and the server's life.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use natgw_management::Server;

use crate::client::{get, get_unix, request};
use crate::fake::SESSIONS;
use crate::{at, start};

const API: [&str; 12] = [
    "status",
    "interfaces",
    "neighbors",
    "routes",
    "pools",
    "subscribers",
    "mappings",
    "sessions",
    "forwards",
    "counters",
    "drops",
    "config",
];

#[test]
fn every_api_route_answers_json_on_both_listeners() {
    let server = start();
    for route in API {
        let path = format!("/api/v1/{route}");
        let response = get(server.address, &path);
        assert_eq!((response.status, response.content_type()), (200, "application/json"), "{path}");
        assert_eq!(response.json(), get_unix(&server.socket, &path).json(), "{path}");
    }
}

#[test]
fn health_page_and_metrics_have_their_types() {
    let server = start();
    let health = get(server.address, "/healthz");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let metrics = get(server.address, "/metrics");
    assert_eq!((metrics.status, metrics.content_type()), (200, "text/plain; version=0.0.4"));
    let page = get(server.address, "/");
    assert_eq!((page.status, page.content_type()), (200, "text/html; charset=utf-8"));
    for (path, kind) in
        [("page.css", "text/css; charset=utf-8"), ("page.js", "text/javascript; charset=utf-8")]
    {
        assert!(page.body.contains(&format!("\"{path}\"")), "{}", page.body);
        let file = get(server.address, &format!("/{path}"));
        assert_eq!((file.status, file.content_type()), (200, kind));
    }
}

#[test]
fn ready_says_why_not() {
    let server = start();
    assert_eq!(get(server.address, "/readyz").json()["ready"], true);
    server.gateway.not_ready.store(true, Ordering::Relaxed);
    let response = get(server.address, "/readyz");
    assert_eq!((response.status, response.content_type()), (503, "application/problem+json"));
    assert_eq!(
        response.json()["detail"],
        "interface outside: link down; gateway 203.0.113.1 does not answer ARP"
    );
}

#[test]
fn status_and_drops_add_up_over_workers() {
    let server = start();
    let status = get(server.address, "/api/v1/status").json();
    assert_eq!((status["sessions"].as_u64(), status["version"].as_str()), (Some(250), Some("0.1.0")));
    assert_eq!(status["workers"][1]["tx_packets"], 1000);
    let drops = get(server.address, "/api/v1/drops").json();
    assert_eq!((&drops["outbound"], &drops["inbound"]), (&8.into(), &0.into()));
    let interfaces = get(server.address, "/api/v1/interfaces").json();
    assert_eq!((&interfaces[1]["tx_packets"], &interfaces[1]["nic"]["rx_missed"]), (&2000.into(), &5.into()));
}

#[test]
fn errors_are_problem_documents() {
    let server = start();
    let cases = [
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v2/status", 404),
        ("POST", "/api/v1/sessions", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/api/v1/sessions?limit=0", 400),
        ("GET", "/api/v1/sessions?limit=1001", 400),
        ("GET", "/api/v1/sessions?port=70000", 400),
        ("GET", "/api/v1/sessions?protocol=ipsec", 400),
        ("GET", "/api/v1/sessions?inside=10.64.0", 400),
        ("GET", "/api/v1/sessions?cursor=elsewhere", 400),
        ("GET", "/api/v1/sessions?colour=blue", 400),
        ("GET", "/api/v1/subscribers?top=-1", 400),
        ("GET", "/api/v1/whose", 400),
        ("GET", "/api/v1/whose?of=203.0.113.10:70000", 400),
        ("GET", "/api/v1/mappings?remote=198.51.100.1", 400),
    ];
    for (method, path, status) in cases {
        let response = request(server.address, method, path);
        assert_eq!(
            (response.status, response.content_type()),
            (status, "application/problem+json"),
            "{path}"
        );
        let problem = response.json();
        assert_eq!((&problem["type"], &problem["status"]), (&"about:blank".into(), &status.into()), "{path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{path}: {problem}");
    }
    assert_eq!(request(server.address, "POST", "/api/v1/sessions").headers["allow"], "GET,HEAD,DELETE");
    let detail = get(server.address, "/api/v1/sessions?protocol=ipsec").json()["detail"].to_string();
    assert!(detail.contains("protocol") && detail.contains("ipsec") && detail.contains("udp"), "{detail}");
}

#[test]
fn pages_show_every_session_once() {
    let server = start();
    let (mut ports, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(server.address, &format!("/api/v1/sessions?limit=60{cursor}")).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 60);
        ports.extend(items.iter().map(|session| session["inside"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(ports.len(), usize::from(SESSIONS));
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), usize::from(SESSIONS));
}

#[test]
fn filters_reach_the_gateway() {
    let server = start();
    let count = |query: &str| {
        let page = get(server.address, &format!("/api/v1/sessions?limit=1000&{query}")).json();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("protocol=tcp"), 125);
    assert_eq!(count("port=1007"), 1);
    assert_eq!(count("inside=10.64.0.10&outside=203.0.113.10&remote=198.51.100.1"), 250);
    assert_eq!(count("remote=198.51.100.2"), 0);
}

#[test]
fn a_worker_that_does_not_answer_is_a_503() {
    let server = start();
    server.gateway.workers_hang.store(true, Ordering::Relaxed);
    let response = get(server.address, "/api/v1/sessions");
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["detail"], "worker 1 did not answer in time");
    assert_eq!(get(server.address, "/api/v1/status").status, 200);
}

#[test]
fn listings_that_hang_leave_room_for_the_rest() {
    let server = start();
    server.gateway.management_hangs.store(true, Ordering::Relaxed);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let listings: Vec<_> =
            (0..8).map(|_| scope.spawn(|| get(server.address, "/api/v1/sessions").status)).collect();
        std::thread::sleep(Duration::from_millis(300));
        for path in ["/metrics", "/readyz", "/healthz", "/api/v1/status"] {
            assert_eq!(get(server.address, path).status, 200, "{path}");
        }
        assert!(started.elapsed() < Duration::from_secs(2));
        for listing in listings {
            assert_eq!(listing.join().unwrap(), 503);
        }
    });
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[test]
fn a_connection_carries_many_requests() {
    let server = start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200 OK"));
    }
}

#[test]
fn idle_connections_do_not_lock_the_operator_out() {
    let server = start();
    let _crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    assert_eq!(get_unix(&server.socket, "/healthz").status, 200);
}

#[test]
fn a_head_without_end_is_refused() {
    let server = start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let sent =
        (0..100_000).take_while(|_| stream.write_all(b"X-Filler: aaaaaaaaaaaaaaaa\r\n").is_ok()).count();
    let mut answer = String::new();
    // The server may have reset the connection, or answered before it did.
    let read = stream.read_to_string(&mut answer);
    assert!(sent < 100_000 || read.is_err() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(get(server.address, "/healthz").status, 200);
}

#[test]
fn shutdown_ends_idle_connections_and_removes_the_socket() {
    let server = start();
    let mode = std::fs::metadata(&server.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let _idle = TcpStream::connect(server.address).unwrap();
    assert_eq!(get(server.address, "/healthz").status, 200);
    let started = Instant::now();
    server.handle.shutdown();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(!server.socket.exists());
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn a_second_server_is_refused_and_the_first_goes_on() {
    let server = start();
    let error = Server::bind(Some(server.address), None).unwrap_err().to_string();
    assert_eq!(error, format!("management.listen {}: Address already in use", server.address));
    let error = Server::bind(None, Some(&at(&server.socket))).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("management.socket {}: another gateway answers there", server.socket.display())
    );
    assert_eq!(get_unix(&server.socket, "/healthz").status, 200);
}
