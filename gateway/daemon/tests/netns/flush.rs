//! Sessions ended by an operator, as hosts see it.

use std::io::{Read, Write};
use std::net::SocketAddrV4;

use crate::lab::{Lab, SERVER, in_a_lab};
use crate::management::natctl;
use crate::reflector::{TcpReflector, UdpReflector, ask, seen};

in_a_lab!(flush_ends_sessions_and_hosts_begin_again);
fn flush_ends_sessions_and_hosts_begin_again(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let sockets: Vec<_> = (0..20).map(|nth| lab.a.udp(6000 + nth)).collect();
    let before: Vec<_> = sockets.iter().map(|socket| ask(socket, reflector.address)).collect();
    let _tcp = TcpReflector::new(&lab.server, 7);
    let mut stream = lab.b.tcp(SocketAddrV4::new(SERVER, 7)).expect("a connection");
    seen(&stream);

    assert_eq!(
        natctl(lab, &["sessions", "delete", "--inside", "10.64.0.11", "--port", "6003"]),
        "1 sessions ended\n"
    );
    assert_eq!(natctl(lab, &["sessions", "delete", "--inside", "10.64.0.99"]), "0 sessions ended\n");
    stream.write_all(b"still here").expect("the connection goes on");
    let mut heard = [0; 10];
    stream.read_exact(&mut heard).expect("an echo");
    // The last acknowledgement comes late, and would begin anew what was ended.
    let sessions = lab.gateway.settled().sum("sessions", &[]);
    assert!(sessions >= 20, "19 datagrams and a connection: {sessions}");

    assert_eq!(natctl(lab, &["flush"]), format!("{sessions} sessions ended\n"));
    let metrics = lab.gateway.settled();
    assert_eq!(metrics.sum("sessions", &[]), 0);
    assert_eq!(metrics.sum("sessions_deleted_total", &[("reason", "deleted")]), sessions + 1);
    let after: Vec<_> = sockets.iter().map(|socket| ask(socket, reflector.address)).collect();
    assert_eq!(before, after, "mappings rested, and their inside endpoints took them up again");
}
