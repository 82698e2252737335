//! Programs that others wrote to look at NATs, or that NATs are known to break: coturn's discovery of NAT behaviour
//! (RFC 5780), and FTP.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::http::contents;
use crate::lab::{Lab, Options, SERVER, SERVER_2, in_a_lab};
use crate::namespace::{Namespace, PATIENCE, Server};

const EIF: Options = Options { filtering: "endpoint-independent", ..Options::DEFAULT };
const APDF: Options = Options { filtering: "address-and-port-dependent", ..Options::DEFAULT };

in_a_lab!(rfc5780_discovery_finds_endpoint_independent_filtering, EIF);
fn rfc5780_discovery_finds_endpoint_independent_filtering(lab: &mut Lab) {
    assert_discovered(lab, "Endpoint Independent");
}

in_a_lab!(rfc5780_discovery_finds_address_dependent_filtering);
fn rfc5780_discovery_finds_address_dependent_filtering(lab: &mut Lab) {
    assert_discovered(lab, "Address Dependent");
}

in_a_lab!(rfc5780_discovery_finds_address_and_port_dependent_filtering, APDF);
fn rfc5780_discovery_finds_address_and_port_dependent_filtering(lab: &mut Lab) {
    assert_discovered(lab, "Address and Port Dependent");
}

/// A client inside finds out by itself that mappings do not depend on the destination, and who may answer. A packet
/// from its second socket to the first one's outside endpoint is filtered as if it came from outside.
fn assert_discovered(lab: &Lab, filtering: &str) {
    let _server = stun_server(lab);
    let report = lab.a.exec("turnutils_natdiscovery -m -f -H 198.51.100.10");
    let says = |words: &str| assert!(report.contains(words), "{words:?} is not in: {report}");
    says("NAT with Endpoint Independent Mapping!");
    says(&format!("NAT with {filtering} Filtering!"));
    assert_eq!(report.matches("Filtering!").count(), 1, "{report}");
    let hairpinned = report.contains("a successful hairpinning");
    assert_eq!(hairpinned, filtering == "Endpoint Independent", "{report}");
}

/// A STUN server at two addresses and two ports, which says so (RFC 5780 section 7.4).
fn stun_server(lab: &Lab) -> Server {
    let at = |name| lab.work.path().join(name).display().to_string();
    let server = lab.server.spawn(&format!(
        "turnserver -n --stun-only --no-tls --no-dtls --no-tcp --no-cli -L {SERVER} -L {SERVER_2} -m 1 \
         --log-file {} --pidfile {} --db {}",
        at("turn.log"),
        at("turn.pid"),
        at("turn.db")
    ));
    // It listens at its second port last.
    wait_until("the STUN server listens", || {
        let sockets = lab.server.exec("ss --numeric --listening --udp --no-header");
        [SERVER, SERVER_2].iter().all(|ip| sockets.contains(&format!("{ip}:3479")))
    });
    server
}

in_a_lab!(ftp_passive_download_is_byte_exact);
fn ftp_passive_download_is_byte_exact(lab: &mut Lab) {
    let _server = ftp_server(&lab.server, lab.work.path());
    // EPSV (RFC 2428), where the client goes on with the address that it knows, and PASV, where the server names one.
    for option in ["--ftp-pasv", "--disable-epsv"] {
        let file = lab.work.path().join("download");
        lab.a.exec(&format!("curl -fsS --max-time 30 {option} -o {} ftp://{SERVER}/file", file.display()));
        assert!(fs::read(&file).expect("the file") == served(), "the file has changed on its way");
    }
}

/// vsftpd, which serves [`served`] without a login.
fn ftp_server(namespace: &Namespace, work: &Path) -> Server {
    // It serves as a user of its own, who has to get there.
    fs::set_permissions(work, Permissions::from_mode(0o755)).expect("ours");
    let root = work.join("ftp");
    let empty = work.join("empty");
    for folder in [&root, &empty] {
        fs::create_dir(folder).expect("a folder");
    }
    fs::write(root.join("file"), served()).expect("a file");
    let config = work.join("vsftpd.conf");
    let text = format!(
        "listen=YES\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\nanon_root={}\n\
         secure_chroot_dir={}\nseccomp_sandbox=NO\nisolate_network=NO\nxferlog_enable=NO\n",
        root.display(),
        empty.display()
    );
    fs::write(&config, text).expect("a configuration file");
    let server = namespace.spawn(&format!("vsftpd {}", config.display()));
    wait_until("the FTP server listens", || {
        namespace.exec("ss --numeric --listening --tcp --no-header").contains(":21 ")
    });
    server
}

fn served() -> Vec<u8> {
    contents()[..2_000_000].to_vec()
}

pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    wait_within(PATIENCE, what, is_so);
}

/// [`wait_until`], for what takes its time.
pub(crate) fn wait_within(patience: Duration, what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < until, "not so: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
