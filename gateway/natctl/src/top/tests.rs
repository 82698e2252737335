//! The screen as it is drawn, from a gateway's answers at two moments.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

use super::sample::Sample;
use super::screen::Screen;

/// The answers of a gateway with so many ticks of everything behind it.
fn sample(pid: u32, at: Instant, ticks: u64) -> Sample {
    let worker = |worker: u64| {
        json!({
            "worker": worker, "cpu": 1 + worker, "sessions": 100 + worker,
            "rx_packets": ticks * 1000 * (worker + 1), "tx_packets": ticks * 990,
            "polls": ticks, "empty_polls": 0, "busy_cycles": ticks * (100_000_000 + 350_000_000 * worker),
        })
    };
    let status = json!({
        "version": "0.1.0", "dpdk": "22.11", "pid": pid, "uptime_s": 7500, "config_file": "gateway.toml",
        "config_generation": 1, "config_reloads": { "applied": 0, "refused": 0 },
        "forward_changes": { "applied": 0, "refused": 0 }, "memory": "no-huge",
        "tables": "", "idle": "poll", "sessions_limit": 1_000_000, "subscribers_limit": 1_000_000,
        "tsc_hz": 1_000_000_000,
        "readiness": { "ready": true, "reasons": [] },
        "sessions": 201, "mappings": 150, "subscribers": 30, "workers": [worker(0), worker(1)],
    });
    let interface = |name: &str, times: u64, up: bool| {
        json!({
            "name": name, "device": "", "driver": "net_tap", "role": name, "addresses": [], "mac": "", "mtu": 1500,
            "vlan": null, "rx_queues": 1, "tx_queues": 1, "steering": "",
            "link": { "up": up, "speed_mbps": null, "full_duplex": true },
            "nic": { "rx_packets": 0, "rx_bytes": 0, "tx_packets": 0, "tx_bytes": 0, "rx_missed": ticks * (times - 1),
                "rx_errors": 0, "tx_errors": 0, "rx_no_buffer": 0 },
            "rx_packets": ticks * 1_500_000 * times, "rx_bytes": ticks * 90_000_000 * times,
            "tx_packets": ticks * 7, "tx_bytes": ticks * 700,
        })
    };
    let usage =
        |protocol: &str, used: u64| json!({ "protocol": protocol, "used": used, "held": 50, "total": 1000 });
    let pool = json!({
        "name": "main", "addresses": [], "address_count": 1, "ports": "", "mapping": "", "filtering": "",
        "filtering_tcp": "", "filtering_udp": "", "blocks": null, "deterministic": null, "failures": [],
        "usage": [usage("udp", 800), usage("tcp", 920), usage("icmp", 0)],
    });
    let drop = |reason: &str, outbound: u64, inbound: u64| json!({ "reason": reason, "outbound": outbound, "inbound": inbound });
    let reasons = json!([
        drop("truncated", 0, 0),
        drop("no-mapping", 0, 5 + ticks * 20),
        drop("no-rule", ticks * 60, 0),
        drop("filtered", 0, 90_000),
    ]);
    let subscriber = |last: u64| {
        json!({
            "address": format!("10.64.0.{last}"), "outside": "203.0.113.10", "pool": "main", "sessions": 200 - last,
            "ports": last, "blocks": [], "worker": last % 2,
        })
    };
    let subscribers: Vec<Value> = (1..=20).map(subscriber).collect();
    Sample {
        at,
        status: serde_json::from_value(status).unwrap(),
        interfaces: serde_json::from_value(json!([
            interface("inside", 1, true),
            interface("outside", 2, false)
        ]))
        .unwrap(),
        pools: serde_json::from_value(json!([pool])).unwrap(),
        drops: serde_json::from_value(json!({ "outbound": 0, "inbound": 0, "reasons": reasons })).unwrap(),
        subscribers: serde_json::from_value(json!(subscribers)).unwrap(),
    }
}

/// Two moments, two seconds and four ticks apart.
fn screen(is_colored: bool) -> Screen {
    let start = Instant::now();
    let mut screen = Screen::new(is_colored);
    screen.take(Ok(sample(7, start, 10)));
    screen.take(Ok(sample(7, start + Duration::from_secs(2), 14)));
    screen
}

fn drawn(screen: &Screen) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| frame.render_widget(screen, frame.area())).unwrap();
    terminal
}

fn lines(screen: &Screen) -> Vec<String> {
    let buffer = drawn(screen).backend().buffer().clone();
    let line = |y: u16| (0..80).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..24).map(line).collect()
}

fn press(screen: &mut Screen, code: KeyCode) -> bool {
    screen.press(KeyEvent::new(code, KeyModifiers::NONE))
}

fn press_times(screen: &mut Screen, code: KeyCode, times: usize) {
    for _ in 0..times {
        press(screen, code);
    }
}

#[test]
fn eighty_columns_and_24_lines_show_rates_to_the_packet() {
    let expected = [
        "nat-gateway 0.1.0, ready, up 2h05m; sessions 201 of 1000000, mappings 150, subsc",
        "q quit  p pause  Tab next table  Up/Down scroll  s sort",
        "INTERFACE↓ ROLE     LINK  RX PKT/S  RX BIT/S  TX PKT/S  TX BIT/S  MISSED/S",
        "inside     inside   up       3.0 M     1.4 G        14    11.2 k         0",
        "outside    outside  down     6.0 M     2.9 G        14    11.2 k         2",
        "WORKER↓ CPU    BUSY  RX PKT/S  TX PKT/S  SESSIONS",
        "0         1  20.0 %     2.0 k     2.0 k       100",
        "1         2  90.0 %     4.0 k     2.0 k       101",
        "POOL  PROTOCOL  USED  HELD  TOTAL     USE↓",
        "main  tcp        920    50   1000  97.0 %",
        "main  udp        800    50   1000  85.0 %",
        "main  icmp         0    50   1000   5.0 %",
        "DROPPED     PKT/S↓ OUT PKT/S  IN PKT/S  TOTAL",
        "no-rule       120        120         0    840",
        "no-mapping     40          0        40    285",
        "filtered        0          0         0  90000",
        "SUBSCRIBER  OUTSIDE       POOL  SESSIONS↓ PORTS  WORKER",
        "10.64.0.1   203.0.113.10  main       199      1       1",
        "10.64.0.2   203.0.113.10  main       198      2       0",
        "10.64.0.3   203.0.113.10  main       197      3       1",
        "10.64.0.4   203.0.113.10  main       196      4       0",
        "10.64.0.5   203.0.113.10  main       195      5       1",
        "10.64.0.6   203.0.113.10  main       194      6       0",
        "10.64.0.7   203.0.113.10  main       193      7       1",
    ];
    let lines = lines(&screen(false));
    assert_eq!(lines, expected);
}

#[test]
fn without_a_moment_before_nothing_is_claimed() {
    let mut screen = Screen::new(false);
    screen.take(Ok(sample(7, Instant::now(), 10)));
    assert!(lines(&screen)[3].contains("up           0"), "{:?}", lines(&screen));
    // Nor when another process has counted from zero.
    screen.take(Ok(sample(8, Instant::now() + Duration::from_secs(1), 50)));
    assert!(lines(&screen)[3].contains("up           0"), "{:?}", lines(&screen));
    screen.take(Ok(sample(8, Instant::now() + Duration::from_secs(2), 51)));
    assert!(lines(&screen)[3].contains("1.5 M"), "{:?}", lines(&screen));
}

#[test]
fn keys_choose_scroll_sort_pause_and_quit() {
    let mut screen = screen(false);
    let first = |screen: &Screen, title: &str| {
        let lines = lines(screen);
        let head = lines.iter().position(|line| line.starts_with(title)).unwrap();
        lines[head + 1].split_whitespace().next().unwrap_or_default().to_owned()
    };
    assert_eq!(first(&screen, "SUBSCRIBER"), "10.64.0.1", "most sessions");
    press(&mut screen, KeyCode::BackTab);
    press(&mut screen, KeyCode::Down);
    assert_eq!(first(&screen, "SUBSCRIBER"), "10.64.0.2");
    press_times(&mut screen, KeyCode::Down, 90);
    assert!(
        lines(&screen).iter().any(|line| line.starts_with("10.64.0.20")),
        "the end is reached and not passed"
    );
    press_times(&mut screen, KeyCode::Up, 90);
    press(&mut screen, KeyCode::Char('s'));
    assert_eq!(first(&screen, "SUBSCRIBER"), "10.64.0.20", "most ports");
    press_times(&mut screen, KeyCode::Char('s'), 2);
    assert_eq!(first(&screen, "SUBSCRIBER↓"), "10.64.0.1", "by address");
    assert_eq!(first(&screen, "DROPPED"), "no-rule", "the most a second, not the most ever");
    press(&mut screen, KeyCode::Left);
    press_times(&mut screen, KeyCode::Char('s'), 3);
    assert_eq!(first(&screen, "DROPPED"), "filtered", "the most ever");

    press(&mut screen, KeyCode::Char('p'));
    let before = lines(&screen);
    screen.take(Ok(sample(7, Instant::now() + Duration::from_secs(9), 99)));
    screen.take(Err("no gateway".into()));
    assert_eq!(lines(&screen), before);
    assert_eq!(before[1], "paused; p goes on");
    press(&mut screen, KeyCode::Char('p'));
    assert!(lines(&screen)[1].starts_with("q quit"));
    assert!(press(&mut screen, KeyCode::Char('x')));
    assert!(!press(&mut screen, KeyCode::Char('q')));
    assert!(!screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
}

#[test]
fn a_gateway_that_went_away_is_reported_and_comes_back() {
    let mut screen = screen(false);
    let before = lines(&screen);
    screen.take(Err("no gateway at /run/control.sock: Connection refused".into()));
    let gone = lines(&screen);
    assert_eq!(gone[1], "trying again: no gateway at /run/control.sock: Connection refused");
    assert_eq!(gone[2..], before[2..], "what it said last stays");
    screen.take(Ok(sample(8, Instant::now(), 1)));
    assert!(lines(&screen)[1].starts_with("q quit"));
}

#[test]
fn colours_mark_what_is_wrong_unless_there_may_be_none() {
    let colors = |screen: &Screen| -> Vec<Color> {
        let buffer = drawn(screen).backend().buffer().clone();
        buffer.content().iter().flat_map(|cell| [cell.fg, cell.bg]).collect()
    };
    let colored = colors(&screen(true));
    assert!(colored.contains(&Color::Red), "a link is down, a pool is nearly full");
    assert!(colored.contains(&Color::Yellow), "packets are dropped");
    assert!(colors(&screen(false)).iter().all(|&color| color == Color::Reset));
}

#[test]
fn any_size_is_drawn() {
    let screen = screen(true);
    for (width, height) in [(0, 0), (1, 1), (3, 2), (20, 5), (80, 7), (300, 100)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| frame.render_widget(&screen, frame.area())).unwrap();
    }
    let text = super::text(&screen, super::ONCE_WIDTH);
    assert!(text.starts_with("nat-gateway 0.1.0, ready"), "{text}");
    assert!(text.contains("\n10.64.0.20 "), "all rows are there: {text}");
    assert!(!text.contains("q quit"));
}
