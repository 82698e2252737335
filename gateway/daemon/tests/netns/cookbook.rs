//! The cookbook's recipes as they are printed: the network that each speaks of, the gateway with the recipe's file, and every
//! command with what it answers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::clients::wait_until;
use crate::console::{self, Step, differs};
use crate::gateway::{Gateway, program};
use crate::lab::{self, PREFIX};
use crate::mirror::Mirror;
use crate::namespace::{Namespace, Server};
use crate::programs;

/// Where a recipe's hosts are: names as the recipe has them, addresses with the lengths of their prefixes.
struct Site {
    recipe: &'static str,
    /// Each host's address on the link, and further ones that it routes to itself: its pods.
    inside: &'static [(&'static str, &'static [&'static str])],
    /// The gateway's addresses.
    gateway: [&'static str; 2],
    /// The next router outside, and which prefix it sends to the gateway.
    router: &'static str,
    routed: Option<&'static str>,
    /// Another host outside, with the address that it serves.
    beside: Option<(&'static str, &'static str, &'static str)>,
}

#[test]
fn cookbook_home_router() {
    run(&Site {
        recipe: "home-router",
        inside: &[("laptop", &["192.168.1.10/24"]), ("web", &["192.168.1.20/24"])],
        gateway: ["192.168.1.1", "203.0.113.2"],
        router: "203.0.113.1/24",
        routed: None,
        beside: None,
    });
}

#[test]
fn cookbook_carrier() {
    run(&Site {
        recipe: "cgn",
        inside: &[("home", &["100.64.0.11/22"]), ("shop", &["100.64.2.11/22"])],
        gateway: ["100.64.0.1", "192.0.2.2"],
        router: "192.0.2.1/30",
        routed: Some("203.0.113.0/24"),
        beside: None,
    });
}

#[test]
fn cookbook_campus() {
    run(&Site {
        recipe: "campus",
        inside: &[("desk", &["10.20.0.11/24"])],
        gateway: ["10.20.0.1", "203.0.113.2"],
        router: "203.0.113.1/24",
        routed: None,
        beside: None,
    });
}

#[test]
fn cookbook_behind_a_29() {
    run(&Site {
        recipe: "behind-a-29",
        inside: &[("desk", &["10.0.0.11/24"]), ("mail", &["10.0.0.4/24"]), ("web", &["10.0.0.5/24"])],
        gateway: ["10.0.0.1", "203.0.113.2"],
        router: "203.0.113.1/29",
        routed: None,
        beside: Some(("vpn", "203.0.113.6/29", "10.8.0.1/32")),
    });
}

#[test]
fn cookbook_egress() {
    run(&Site {
        recipe: "egress",
        inside: &[
            ("node", &["10.10.0.11/24", "10.244.0.7/32", "10.244.128.7/32"]),
            ("vm", &["10.10.0.21/24"]),
        ],
        gateway: ["10.10.0.1", "192.0.2.2"],
        router: "192.0.2.1/29",
        routed: Some("203.0.113.0/24"),
        beside: Some(("peer", "192.0.2.6/29", "10.8.0.1/32")),
    });
}

/// Its network is made by its own commands.
#[test]
fn cookbook_container_lab() {
    let _turn = lab::turn();
    let kitchen = Kitchen::new("container-lab");
    let lab = format!("{PREFIX}{}-site-", std::process::id());
    let _tidy = Tidy(lab.clone());
    let steps = steps("container-lab");
    assert!(steps.len() > 10, "only {} commands", steps.len());
    for step in &steps {
        let command =
            step.command.replace("lab-", &lab).replace(&format!("container-{}", &lab), "container-lab");
        kitchen.serve(&step.answer, || kitchen.in_shell(Command::new("sh"), &command));
    }
    let left = Command::new("ip").args(["netns", "list"]).output().expect("ip runs");
    assert!(
        !String::from_utf8_lossy(&left.stdout).contains(&lab),
        "the last command leaves namespaces behind"
    );
}

/// Ends what the container lab has started, where its own commands did not get to it.
struct Tidy(String);

impl Drop for Tidy {
    fn drop(&mut self) {
        for name in ["client", "gateway", "server"] {
            let namespace = format!("{}{name}", self.0);
            let line =
                format!("ip netns pids {namespace} | xargs -r kill -KILL; ip netns delete {namespace}");
            let _ = Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status();
        }
    }
}

/// Builds the site, starts the gateway, runs every command of the recipe, and ends it all.
fn run(site: &Site) {
    let _turn = lab::turn();
    let kitchen = Kitchen::new(site.recipe);
    let [server, router, middle] = ["server", "router", "gateway"].map(lab::namespace);
    for bridge in ["br-in", "br-out"] {
        middle.ip(&format!("link add {bridge} up type bridge"));
    }
    router.plug_into(&middle, "br-out", &[site.router]);
    router.ip("link add br-server up type bridge");
    router.ip("address add 198.51.100.1/24 dev br-server");
    server.plug_into(&router, "br-server", &["198.51.100.10/24"]);
    server.ip("route add default via 198.51.100.1");
    router.sysctl("net.ipv4.ip_forward=1");
    let [inside_gateway, outside_gateway] = site.gateway;
    if let Some(prefix) = site.routed {
        router.ip(&format!("route add {prefix} via {outside_gateway}"));
    }
    let mut hosts: Vec<(&str, Namespace)> = Vec::new();
    for &(name, addresses) in site.inside {
        let host = lab::namespace(name);
        host.plug_into(&middle, "br-in", &addresses[..1]);
        for address in &addresses[1..] {
            host.ip(&format!("address add {address} dev lo"));
        }
        host.ip(&format!("route add default via {inside_gateway}"));
        hosts.push((name, host));
    }
    if let Some((name, address, own)) = site.beside {
        let host = lab::namespace(name);
        host.plug_into(&middle, "br-out", &[address]);
        host.ip(&format!("address add {own} dev lo"));
        for address in site.inside.iter().flat_map(|(_, addresses)| *addresses) {
            let inside = address.split('/').next().expect("an address");
            host.ip(&format!("route add {inside} via {outside_gateway}"));
        }
        hosts.push((name, host));
    }
    hosts.push(("server", server));
    let _mirrors: Vec<Mirror> = hosts.iter().map(|(_, host)| Mirror::new(host, 80)).collect();
    let _dns = dns(&hosts.last().expect("the server").1);

    let mut gateway = Gateway::start(&middle, &kitchen.config());
    lab::wait_until_ready(&mut gateway, &middle);
    hosts.push(("gateway", middle));
    let steps = steps(site.recipe);
    assert!(!steps.is_empty());
    for step in &steps {
        let (_, host) = hosts.iter().find(|(name, _)| *name == step.host).expect(&step.host);
        kitchen.serve(&step.answer, || kitchen.in_shell(host.command("sh"), &step.command));
    }
    gateway.settled();
    assert_eq!(gateway.end_on(Signal::SIGTERM).code(), Some(0));
}

/// Answers for one name.
fn dns(server: &Namespace) -> Server {
    let dns = server.spawn(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
         --listen-address=198.51.100.10 --bind-interfaces --address=/www.example.test/198.51.100.10",
    );
    wait_until("the DNS server listens", || server.exec("ss -Hltn").contains("198.51.100.10:53 "));
    dns
}

/// The directory that a recipe's commands run in.
struct Kitchen(TempDir);

impl Kitchen {
    /// `config/` is the repository's, `nat-gateway.log` the gateway's log, `bin/` has programs that know the CPUs and the
    /// socket of this run, which recipes do not name.
    fn new(recipe: &str) -> Kitchen {
        let work = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a directory");
        let kitchen = Kitchen(work);
        symlink(repository().join("config"), kitchen.path("config")).expect("a link");
        symlink("log", kitchen.path("nat-gateway.log")).expect("a link");
        fs::create_dir(kitchen.path("bin")).expect("a directory");
        let socket = kitchen.path("control.sock");
        let further = format!(
            "{}\n[management]\nlisten = \"127.0.0.1:9464\"\nsocket = {socket:?}\n",
            lab::dpdk_section(1)
        );
        let text = fs::read_to_string(repository().join(format!("config/cookbook/{recipe}.toml")));
        fs::write(kitchen.config(), text.expect("the recipe") + &further).expect("a file");
        let natctl = format!("exec {} --socket {} \"$@\"", programs::path("natctl"), socket.display());
        kitchen.script("natctl", &natctl);
        let gateway = format!(
            "shift 2\nexec {} --config {} \"$@\"",
            program().to_str().expect("a UTF-8 path"),
            kitchen.config().display()
        );
        kitchen.script("nat-gateway", &gateway);
        kitchen
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("gateway.toml")
    }

    fn script(&self, name: &str, text: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
    }

    fn in_shell(&self, mut shell: Command, command: &str) -> Output {
        let path = std::env::var("PATH").expect("a path");
        shell.args(["-c", command]).current_dir(self.0.path()).stdin(Stdio::null());
        shell.env("PATH", format!("{}:{path}", self.path("bin").display()));
        // A program in the background would keep the pipes open.
        if command.ends_with('&') {
            shell.stdout(Stdio::null()).stderr(Stdio::null());
        }
        shell.output().expect("a shell")
    }

    /// Runs a command until it answers as the recipe says: a log or a listing may lag behind.
    fn serve(&self, answer: &[String], run: impl Fn() -> Output) {
        let until = Instant::now() + PATIENCE;
        loop {
            let output = run();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let problem = match differs(answer, &said) {
                None if output.status.success() => return,
                None => format!("{}", output.status),
                Some(line) => format!("not answered: {line:?}"),
            };
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                Instant::now() < until,
                "{problem}\n---- it says:\n{said}{errors}\n---- the log:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// How long an answer may take, the start of a gateway included.
const PATIENCE: Duration = Duration::from_secs(20);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The commands of the chapter that begins with a link to the recipe's file.
fn steps(recipe: &str) -> Vec<Step> {
    let text = fs::read_to_string(repository().join("config/cookbook/README.md")).expect("the cookbook");
    let link = format!("\n\n[{recipe}.toml]({recipe}.toml)\n");
    let chapter = text.split("\n## ").find(|chapter| chapter.contains(&link)).expect("the recipe's chapter");
    chapter
        .split("```console\n")
        .skip(1)
        .flat_map(|rest| console::steps(rest.split("```").next().expect("its end")))
        .collect()
}

#[test]
fn every_recipe_has_its_chapter() {
    let folder = repository().join("config/cookbook");
    let names = fs::read_dir(folder).expect("the cookbook").map(|entry| entry.expect("an entry").file_name());
    let recipes: Vec<String> =
        names.filter_map(|name| name.to_str()?.strip_suffix(".toml").map(str::to_owned)).collect();
    assert_eq!(recipes.len(), 6, "as many as there are tests of recipes here");
    for recipe in recipes {
        assert!(!steps(&recipe).is_empty(), "{recipe}");
    }
}
