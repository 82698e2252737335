//! The configuration changed under traffic.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddrV4;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::lab::{Lab, SERVER, SERVER_2, in_a_lab};
use crate::management::natctl;
use crate::programs;
use crate::reflector::{TcpReflector, UdpReflector, ask, try_ask};

/// Host B may not speak to the server's second address.
const FORBIDDING: &str =
    "[[nat.rules]]\nsource = \"10.64.0.12\"\ndestination = \"198.51.100.11\"\naction = \"drop\"\n";

pub(crate) fn rewrite(lab: &Lab, change: impl FnOnce(String) -> String) {
    let path = lab.work.path().join("gateway.toml");
    let text = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, change(text)).expect("a file");
}

fn forbid(lab: &Lab) {
    rewrite(lab, |text| text.replacen("[[nat.rules]]", &format!("{FORBIDDING}\n[[nat.rules]]"), 1));
}

pub(crate) fn natctl_reload(lab: &Lab) -> Output {
    let mut natctl = Command::new(programs::path("natctl"));
    natctl.arg("--socket").arg(lab.gateway.socket()).arg("reload").stdin(Stdio::null());
    natctl.output().expect("natctl is built")
}

in_a_lab!(reload_ends_what_is_forbidden_and_nothing_else);
fn reload_ends_what_is_forbidden_and_nothing_else(lab: &mut Lab) {
    let reflectors = [SERVER, SERVER_2].map(|address| UdpReflector::new(&lab.server, address, 7));
    let [first, second] = [&reflectors[0], &reflectors[1]].map(|reflector| reflector.address);
    let _tcp = TcpReflector::new(&lab.server, 7);
    let allowed: Vec<_> = (0..100).map(|nth| lab.a.udp(6000 + nth)).collect();
    let forbidden: Vec<_> = (0..20).map(|nth| lab.b.udp(6000 + nth)).collect();
    let before: Vec<_> = allowed.iter().map(|socket| ask(socket, second)).collect();
    for socket in &forbidden {
        ask(socket, second);
        ask(socket, first);
    }
    let mut stream = lab.b.tcp(SocketAddrV4::new(SERVER, 7)).expect("a connection");

    forbid(lab);
    let output = natctl_reload(lab);
    assert!(output.status.success(), "{output:?}");
    // Hosts' UDP mappings are used by their flows to the other address still.
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "configuration generation 2 is in force\n20 sessions and 0 mappings ended\n"
    );
    // By then they have.
    let metrics = lab.gateway.metrics();
    assert_eq!(metrics.sum("sessions_deleted_total", &[("reason", "reload")]), forbidden.len() as u64);
    assert_eq!(metrics.sum("reload_sweep_lines", &[]), 0);
    assert_eq!(metrics.sum("config_generation", &[]), 2);
    assert_eq!(metrics.sum("config_reloads_total", &[("result", "applied")]), 1);

    let after: Vec<_> = allowed.iter().map(|socket| ask(socket, second)).collect();
    assert_eq!(before, after, "flows that are still allowed keep their outside endpoints");
    stream.write_all(b"still here").expect("the connection goes on");
    let mut heard = String::new();
    stream.shutdown(std::net::Shutdown::Write).expect("half a close");
    stream.read_to_string(&mut heard).expect("an echo");
    assert!(heard.ends_with("still here"), "{heard}");
    ask(&forbidden[0], first);
    forbidden[0].set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    assert!(try_ask(&forbidden[0], second).is_err(), "a rule forbids it");
}

in_a_lab!(reloads_on_each_others_heels_wait_for_one_another);
fn reloads_on_each_others_heels_wait_for_one_another(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER_2, 7);
    let sockets: Vec<_> = (0..50).map(|nth| lab.b.udp(6000 + nth)).collect();
    for socket in &sockets {
        ask(socket, reflector.address);
    }
    forbid(lab);
    let lab = &*lab;
    let said: Vec<String> = thread::scope(|scope| {
        let reload = |no_wait: bool| {
            let arguments: &[&str] = if no_wait { &["reload", "--no-wait"] } else { &["reload"] };
            scope.spawn(move || natctl(lab, arguments))
        };
        let reloads: Vec<_> = (0..8).map(|nth| reload(nth % 2 == 0)).collect();
        reloads.into_iter().map(|reload| reload.join().expect("it is not refused")).collect()
    });
    for generation in 2..10 {
        let named = format!("configuration generation {generation} is in force");
        assert!(said.iter().any(|said| said.contains(&named)), "{said:?}");
    }
    // The last of them may not have been waited for.
    assert!(natctl(lab, &["reload"]).contains("0 sessions and 0 mappings ended"));
    let metrics = lab.gateway.metrics();
    assert_eq!(metrics.sum("sessions_deleted_total", &[("reason", "reload")]), 50);
    let log = lab.gateway.log();
    assert_eq!(log.matches("the change is through").count(), 9, "{log}");
    assert!(log.contains("sessions_ended=50 mappings_ended=50"), "{log}");
}

in_a_lab!(reload_on_sighup);
fn reload_on_sighup(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER_2, 7);
    let socket = lab.b.udp(6000);
    ask(&socket, reflector.address);
    forbid(lab);
    lab.gateway.signal(Signal::SIGHUP);
    let until = Instant::now() + Duration::from_secs(5);
    while lab.gateway.metrics().sum("config_generation", &[]) != 2 {
        assert!(Instant::now() < until, "{}", lab.gateway.log());
        thread::sleep(Duration::from_millis(20));
    }
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    assert!(try_ask(&socket, reflector.address).is_err(), "a rule forbids it");
}

in_a_lab!(reload_of_a_wrong_file_changes_nothing);
fn reload_of_a_wrong_file_changes_nothing(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER_2, 7);
    let socket = lab.b.udp(6000);
    let before = ask(&socket, reflector.address);
    forbid(lab);
    rewrite(lab, |text| {
        text.replace("role = \"outside\"", "rolle = \"outside\"").replace("\"10.64.0.12\"", "\"nowhere\"")
    });
    let output = natctl_reload(lab);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for found in ["rolle", "nowhere", "nothing was changed"] {
        assert!(said.contains(found), "{found:?} is not in:\n{said}");
    }
    assert_eq!(ask(&socket, reflector.address), before);
    let metrics = lab.gateway.metrics();
    assert_eq!(metrics.sum("config_generation", &[]), 1);
    assert_eq!(metrics.sum("config_reloads_total", &[("result", "refused")]), 1);
}
