//! A gateway that does not start says in one line what is wrong, and on which line of the file.

mod null_ports;

use std::net::TcpListener;
use std::process::{Command, Output};

use null_ports::CONFIGURATION;

/// What a gateway says on standard error whose configuration has `to` in place of the line `from`; the line's number.
fn refused(from: &str, to: &str) -> (String, String, Output) {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(CONFIGURATION.matches(from).count(), 1, "{from}");
    let text = CONFIGURATION.replace(from, to);
    let line = 1 + text.lines().position(|line| line == to).unwrap();
    let file = null_ports::write(directory.path(), &text);
    let gateway =
        Command::new(env!("CARGO_BIN_EXE_nat-gateway")).arg("--config").arg(&file).output().unwrap();
    assert_eq!(gateway.status.code(), Some(2));
    let said = String::from_utf8(gateway.stderr.clone()).unwrap();
    (format!("{}:{line}: ", file.display()), said, gateway)
}

/// As [`refused`], where nothing but the message is said.
fn message(from: &str, to: &str) -> String {
    let (place, said, output) = refused(from, to);
    assert_eq!((said.lines().count(), output.stdout.as_slice()), (1, &b""[..]), "{said}");
    said.strip_prefix(&place).unwrap_or_else(|| panic!("{place} in {said}")).trim_end().to_owned()
}

#[test]
fn names_the_line_of_a_device_that_cannot_be_had() {
    let said = message("device = \"net_null1\"", "device = \"net_pcap1,rx_pcap=/no/such.pcap\"");
    assert!(said.starts_with("interfaces.device: rte_eal_hotplug_add: failed (net_pcap1"), "{said}");
    assert!(
        said.ends_with("Couldn't open /no/such.pcap: /no/such.pcap: No such file or directory"),
        "{said}"
    );
    let said = message("device = \"net_null0\"", "device = \"net_nosuch0\"");
    assert!(said.starts_with("interfaces.device: net_nosuch0: DPDK has no driver net_nosuch"), "{said}");
}

#[test]
fn names_the_line_of_a_cpu_that_is_not_there() {
    for (from, to) in
        [("main_lcore = 0", "main_lcore = 1023"), ("worker_lcores = [0]", "worker_lcores = [0, 1023]")]
    {
        let said = message(from, to);
        assert!(said.starts_with("CPU 1023 is not available: this process may run on CPUs "), "{said}");
    }
}

#[test]
fn names_the_line_of_an_address_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = \"{}\"", taken.local_addr().unwrap());
    let said = message("listen = \"127.0.0.1:0\"", &listen);
    assert!(said.starts_with("management.listen 127.0.0.1:") && said.ends_with("in use"), "{said}");
}

#[test]
fn an_argument_that_eal_does_not_know_is_no_reason_to_print_its_usage() {
    let (place, said, output) = refused("eal_args = []", "eal_args = [\"--nonsense\"]");
    assert_eq!(output.stdout, b"");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with(&format!("{place}rte_eal_init: Invalid argument (")), "{said}");
    assert!(last.contains("with --nonsense"), "{said}");
    assert!(said.lines().count() < 6, "{said}");
}
