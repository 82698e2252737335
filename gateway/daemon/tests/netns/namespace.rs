//! Network namespaces, made and joined by iproute2. A thread that enters one opens sockets there, and they stay there
//! whoever uses them afterwards.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

/// How long a test waits for an answer that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A network namespace, deleted on drop.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// A namespace without IPv6, so that nothing moves but what a test sends.
    pub(crate) fn new(name: String) -> Namespace {
        ip(&["netns", "add", &name]);
        let namespace = Namespace { name };
        namespace.sysctl("net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        // Where the kernel has br_netfilter, its bridges would drop broken packets.
        namespace.try_exec("sysctl -e -q -w net.bridge.bridge-nf-call-iptables=0");
        namespace.ip("link set lo up");
        namespace
    }

    /// Deletes the namespaces `PREFIX` + process id + `-...` whose process is no more.
    pub(crate) fn sweep(prefix: &str) {
        let Ok(entries) = fs::read_dir("/run/netns") else { return };
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let process = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
            if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
                drop(Namespace { name });
            }
        }
    }

    /// Joins an interface of this namespace to a bridge of another by a veth pair.
    pub(crate) fn plug_into(&self, other: &Namespace, bridge: &str, addresses: &[&str]) {
        let far_end = format!("to-{}", self.name.rsplit('-').next().unwrap_or_default());
        ip(&["link", "add", "name", "eth0", "netns", &self.name, "type", "veth"]
            .into_iter()
            .chain(["peer", "name", &far_end, "netns", &other.name])
            .collect::<Vec<_>>());
        for address in addresses {
            self.ip(&format!("address add {address} dev eth0"));
        }
        self.ip("link set eth0 up");
        other.ip(&format!("link set {far_end} master {bridge} up"));
    }

    /// `ip ARGUMENTS` in here.
    pub(crate) fn ip(&self, arguments: &str) {
        ip(&["-n", &self.name].into_iter().chain(arguments.split_whitespace()).collect::<Vec<_>>());
    }

    /// Sets kernel parameters of this namespace: `name=value ...`.
    pub(crate) fn sysctl(&self, settings: &str) {
        self.exec(&format!("sysctl -q -w {settings}"));
    }

    /// A command that runs in here and dies with the test.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    /// Runs a command line to its end, at most a minute.
    pub(crate) fn try_exec(&self, line: &str) -> Output {
        let mut command = self.command("timeout");
        command.args(["--kill-after=1", "60"]).args(line.split_whitespace()).stdin(Stdio::null());
        command.output().expect("ip runs")
    }

    /// Runs a command line that must succeed; what it wrote to its standard output.
    pub(crate) fn exec(&self, line: &str) -> String {
        let output = self.try_exec(line);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}: {}\n{out}{err}", output.status);
        out.into_owned()
    }

    /// Starts a server program, killed on drop.
    pub(crate) fn spawn(&self, line: &str) -> Server {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a program"));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Server(command.spawn().expect("ip runs"))
    }

    /// What `f` returns, run by a thread that has entered this namespace.
    pub(crate) fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        let inside = move || {
            let namespace = File::open(&path).expect("the namespace exists");
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("a thread may enter a namespace");
            f()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|e| std::panic::resume_unwind(e))
    }

    /// A UDP socket on `port` (0: any) of all addresses.
    pub(crate) fn udp(&self, port: u16) -> UdpSocket {
        self.udp_on(Ipv4Addr::UNSPECIFIED, port)
    }

    /// A UDP socket on `port` of one address.
    pub(crate) fn udp_on(&self, address: Ipv4Addr, port: u16) -> UdpSocket {
        let socket = self.enter(|| UdpSocket::bind((address, port))).expect("the UDP port is free");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    /// A TCP listener on `port` of all addresses.
    pub(crate) fn tcp_listener(&self, port: u16) -> TcpListener {
        self.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).expect("the TCP port is free")
    }

    /// A TCP connection to `remote`.
    pub(crate) fn tcp(&self, remote: SocketAddrV4) -> io::Result<TcpStream> {
        self.tcp_timeout(remote, PATIENCE)
    }

    /// A TCP connection to `remote`, given up after a while.
    pub(crate) fn tcp_timeout(&self, remote: SocketAddrV4, patience: Duration) -> io::Result<TcpStream> {
        let stream = self.enter(|| TcpStream::connect_timeout(&remote.into(), patience))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// A TCP connection to `remote` from a source port of choice.
    pub(crate) fn tcp_from(&self, port: u16, remote: SocketAddrV4) -> io::Result<TcpStream> {
        let new = || socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
        let socket = self.enter(new)?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
        connect(socket.as_raw_fd(), &SockaddrIn::from(remote))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// A running server program, killed on drop.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `ip ARGUMENTS`, which must succeed.
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    if !output.status.success() {
        let _ = io::stderr().write_all(&output.stderr);
        panic!("ip {}: {}", arguments.join(" "), output.status);
    }
}
