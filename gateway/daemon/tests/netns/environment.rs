//! Environments and configurations that cannot work: one clear line, exit code 2, nothing started, no core dump.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::gateway::program;
use crate::lab::{self, Options};
use crate::namespace::Namespace;

/// What a gateway that cannot start has said, once it is known to have ended with exit code 2.
struct Refusal(String);

/// Starts the gateway in an empty namespace with a changed configuration. `wrapper` is a command line that runs it.
fn refusal(wrapper: &[&str], prepare: impl FnOnce(&Namespace), change: impl Fn(String) -> String) -> Refusal {
    let _turn = lab::turn();
    let namespace = lab::namespace("alone");
    prepare(&namespace);
    let work = tempfile::tempdir().expect("a directory");
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o777)).expect("open to all");
    let config = work.path().join("gateway.toml");
    fs::write(&config, change(lab::config(Options::DEFAULT, work.path()))).expect("a file");
    // A copy, because another user may not reach the build directory. Of a process of its own: what this one writes, a
    // child of another test may hold open, and then it does not run.
    let copy = work.path().join("nat-gateway");
    assert!(Command::new("cp").arg(program()).arg(&copy).status().expect("cp runs").success());
    run(&namespace, wrapper, &copy, &config)
}

fn run(namespace: &Namespace, wrapper: &[&str], program: &Path, config: &Path) -> Refusal {
    let mut command = namespace.command("timeout");
    command.args(["--kill-after=1", "20"]).args(wrapper).arg(program).arg("--config").arg(config);
    command.args(["--log-level", "error"]).stdin(Stdio::null()).current_dir("/");
    let output = command.output().expect("ip runs");
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // A program that dumped core ends with 128 and its signal here.
    assert_eq!(output.status.code(), Some(2), "{}: {text}", output.status);
    Refusal(text)
}

impl Refusal {
    /// One line, and it names all of these.
    fn says(&self, words: &[&str]) {
        assert_eq!(self.0.lines().count(), 1, "not one line:\n{}", self.0);
        for word in words {
            assert!(self.0.to_lowercase().contains(&word.to_lowercase()), "{word:?} is not in: {}", self.0);
        }
    }
}

#[test]
fn listen_port_in_use() {
    let mut taken = None;
    let prepare = |namespace: &Namespace| {
        taken = Some(namespace.enter(|| TcpListener::bind("127.0.0.1:9464")).expect("a free port"));
    };
    refusal(&[], prepare, |config| config).says(&["127.0.0.1:9464", "in use"]);
}

#[test]
fn tap_without_the_capability() {
    let wrapper = ["setpriv", "--bounding-set", "-net_admin"];
    refusal(&wrapper, |_| {}, |config| config).says(&["net_tap0", "NET_ADMIN"]);
}

#[test]
fn tap_as_an_ordinary_user() {
    let wrapper = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    refusal(&wrapper, |_| {}, |config| config).says(&["net_tap0", "NET_ADMIN"]);
}

#[test]
fn missing_pci_device() {
    let change = |config: String| config.replace("net_tap1,iface=tap-out", "0000:ff:1f.7");
    refusal(&[], |_| {}, change).says(&["0000:ff:1f.7", "no such PCI device"]);
}

#[test]
fn unknown_driver() {
    let change = |config: String| config.replace("net_tap1,iface=tap-out", "net_nonesuch0");
    refusal(&[], |_| {}, change).says(&["net_nonesuch0", "no driver"]);
}

/// Sees no huge page that is free, whatever the machine has.
const WITHOUT_FREE_HUGEPAGES: &str = "none=$(mktemp) && echo 0 >$none &&
    for free in /sys/kernel/mm/hugepages/*/free_hugepages; do mount --bind $none $free; done &&
    rm $none && exec \"$@\"";

#[test]
fn too_few_hugepages() {
    let change = |config: String| config.replace("\"no-huge\"", "\"hugepages\"");
    let wrapper = ["unshare", "--mount", "sh", "-c", WITHOUT_FREE_HUGEPAGES, "sh"];
    refusal(&wrapper, |_| {}, change).says(&["hugepages", "nr_hugepages"]);
}

#[test]
fn cpu_that_is_not_there() {
    let change = |config: String| config.replace("worker_lcores = [", "worker_lcores = [999, ");
    let said = refusal(&[], |_| {}, change).0;
    assert!(said.contains("999"), "{said}");
}

#[test]
fn every_mistake_has_its_line() {
    let change = |config: String| {
        let config = config.replace("idle = \"backoff\"", "idle = \"bakoff\"");
        config
            .replace("role = \"outside\"", "rolle = \"outside\"")
            .replace("sessions = 32_768", "sessions = 0")
    };
    let said = refusal(&[], |_| {}, change).0;
    for (line, found) in [(6, "bakoff"), (17, "rolle")] {
        assert!(
            said.lines().any(|text| text.contains(&format!("gateway.toml:{line}:")) && text.contains(found)),
            "no line {line} with {found}:\n{said}"
        );
    }
    assert!(said.lines().any(|text| text.contains("sessions")), "{said}");
}

#[test]
fn missing_configuration_file() {
    let _turn = lab::turn();
    let namespace = lab::namespace("alone");
    run(&namespace, &[], program().as_ref(), Path::new("/nonexistent/gateway.toml"))
        .says(&["/nonexistent/gateway.toml", "No such file"]);
}
