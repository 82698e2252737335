//! The status page in a browser without a screen.

use std::process::Command;

use super::start;

/// The page after some seconds of virtual time in the browser.
fn page(address: std::net::SocketAddr) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{address}/"))
        .output()
        .expect("chromium, which scripts/setup.sh installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn page_shows_what_the_api_tells() {
    let server = start();
    let page = page(server.address);
    for part in [
        "<p id=\"state\" role=\"status\" class=\"good\">ready</p>",
        "250 of 1000000 sessions",
        "<td>outside</td><td>outside</td><td class=\"good\">up</td>",
        "aria-label=\"250 used, 3 resting, of 193536\"",
        "<td>no-rule</td><td class=\"number\">8</td>",
        "<td>10.64.0.10</td><td>203.0.113.10</td><td>main</td>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert_eq!(page.matches("<polyline").count(), 7, "every chart is drawn: {page}");
}

#[test]
fn page_says_why_the_gateway_is_not_ready() {
    let server = start();
    server.gateway.not_ready.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(page(server.address).contains("<p id=\"state\" role=\"status\" class=\"bad\">"));
}

/// A machine that manages gateways may see no other network.
#[test]
fn page_asks_this_server_alone() {
    let files = [
        include_str!("../../../management/src/page/index.html"),
        include_str!("../../../management/src/page/page.css"),
        include_str!("../../../management/src/page/page.js"),
    ];
    for file in files {
        let addresses = file.matches("http").count() - file.matches("http://www.w3.org/2000/svg").count();
        assert_eq!((addresses, file.contains("url("), file.contains("@import")), (0, false, false), "{file}");
    }
}
