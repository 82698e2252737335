//! Network namespaces, made and joined by iproute2. A thread that enters one opens sockets there, and they stay
//! there, whichever thread uses them afterwards.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

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
        // The first one of all makes /run/netns, which two at once could not.
        static ADDING: Mutex<()> = Mutex::new(());
        let adding = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
        ip(&["netns", "add", &name]);
        drop(adding);
        let namespace = Namespace { name };
        namespace.sysctl("net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        // Where the kernel has br_netfilter, its bridges would drop broken packets.
        let _ = namespace.try_sysctl("net.bridge.bridge-nf-call-iptables=0");
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
        other.ip_batch(&[
            &format!("link add name {far_end} type veth peer name eth0 netns {}", self.name),
            &format!("link set {far_end} master {bridge} up"),
        ]);
        let add = |address| format!("address add {address} dev eth0\n");
        self.ip_batch(&[&addresses.iter().map(add).collect::<String>(), "link set eth0 up"]);
    }

    /// `ip ARGUMENTS` in here.
    pub(crate) fn ip(&self, arguments: &str) {
        ip(&["-n", &self.name].into_iter().chain(arguments.split_whitespace()).collect::<Vec<_>>());
    }

    /// Runs lines of `ip`'s in here, by one process.
    pub(crate) fn ip_batch(&self, lines: &[&str]) {
        let output = self.try_ip_batch(lines);
        assert!(output.status.success(), "{lines:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// [`Namespace::ip_batch`], up to the first line that fails.
    pub(crate) fn try_ip_batch(&self, lines: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ip runs");
        // It may have ended before it has read all.
        let _ = child.stdin.take().expect("a pipe").write_all((lines.join("\n") + "\n").as_bytes());
        child.wait_with_output().expect("a child of ours")
    }

    /// Sets kernel parameters of this namespace: `name=value ...`.
    pub(crate) fn sysctl(&self, settings: &str) {
        self.try_sysctl(settings).unwrap_or_else(|error| panic!("{settings}: {error}"));
    }

    fn try_sysctl(&self, settings: &str) -> io::Result<()> {
        // A file there is that of the namespace of the thread that opens it.
        self.enter(|| {
            settings.split_whitespace().try_for_each(|setting| {
                let (name, value) = setting.split_once('=').expect("name=value");
                fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
            })
        })
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
        let socket = self.bind(|| UdpSocket::bind((address, port))).expect("the UDP port is free");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    /// A TCP listener on `port` of all addresses.
    pub(crate) fn tcp_listener(&self, port: u16) -> TcpListener {
        self.bind(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).expect("the TCP port is free")
    }

    /// Binds a socket in here. Where another test starts a program, that has every descriptor until it is what it is to be:
    /// the port of a socket that was closed a moment ago is still taken then.
    fn bind<T: Send>(&self, new: impl Fn() -> io::Result<T> + Sync) -> io::Result<T> {
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            match self.enter(&new) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                    thread::sleep(Duration::from_millis(1));
                }
                socket => return socket,
            }
        }
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
        let local = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        let socket = self.bind(|| {
            let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            bind(socket.as_raw_fd(), &local)?;
            Ok(socket)
        })?;
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
