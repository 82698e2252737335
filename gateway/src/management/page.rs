//! The page at `/`: the state in a few lines, and where the rest is. It needs no script and loads nothing.

use std::fmt::{self, Write};

use super::Gateway;
use super::snapshot::{InterfaceStatus, Status};

pub(super) const CONTENT_TYPE: &str = "text/html; charset=utf-8";
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page as HTML.
pub(super) fn render(gateway: &dyn Gateway) -> String {
    let mut page = String::from(HEAD);
    // Writing to a String cannot fail.
    let _ = body(&mut page, &Status::of(gateway), &InterfaceStatus::all(gateway));
    page
}

fn body(page: &mut String, status: &Status, interfaces: &[InterfaceStatus]) -> fmt::Result {
    let about = &status.about;
    let state = if status.readiness.ready { "ready".into() } else { status.readiness.reasons.join("; ") };
    writeln!(page, "<h1>NAT gateway {}</h1>", Escaped(&about.version))?;
    writeln!(page, "<p>{}, up {} s, DPDK {}</p>", Escaped(&state), about.uptime_s, Escaped(&about.dpdk))?;
    writeln!(
        page,
        "<p>{} of {} sessions, {} mappings, {} subscribers</p>",
        status.sessions, about.sessions_limit, status.mappings, status.subscribers
    )?;
    writeln!(page, "<table><tr><th>interface<th>role<th>link<th>received<th>transmitted")?;
    for row in interfaces {
        let (name, role) = (Escaped(&row.interface.name), Escaped(&row.interface.role));
        let link = if row.link.up { "up" } else { "down" };
        writeln!(page, "<tr><td>{name}<td>{role}<td>{link}<td>{}<td>{}", row.rx_packets, row.tx_packets)?;
    }
    writeln!(page, "</table>\n<ul>")?;
    for path in PATHS {
        writeln!(page, "<li><a href=\"{path}\">{path}</a>")?;
    }
    writeln!(page, "</ul>")
}

/// Text that may hold characters with a meaning in HTML.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            other => f.write_char(other),
        })
    }
}

const HEAD: &str = "<!doctype html>
<html lang=\"en\"><meta charset=\"utf-8\"><title>NAT gateway</title>
<style>body{font:1rem/1.5 sans-serif;margin:2rem}td,th{padding:0 1rem 0 0;text-align:left}</style>
";

const PATHS: &[&str] = &[
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/v1/status",
    "/api/v1/interfaces",
    "/api/v1/neighbors",
    "/api/v1/routes",
    "/api/v1/pools",
    "/api/v1/subscribers",
    "/api/v1/mappings",
    "/api/v1/sessions",
    "/api/v1/forwards",
    "/api/v1/counters",
    "/api/v1/drops",
    "/api/v1/config",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_bring_markup() {
        assert_eq!(Escaped("<a href=\"&\">").to_string(), "&lt;a href=&quot;&amp;&quot;&gt;");
    }
}
