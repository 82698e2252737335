//! `[management]` and `[log]`: how the gateway is watched and steered.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::table_reader::Section;
use super::value;
use crate::log::{Format, Level};

/// Where the HTTP API listens and who may change things through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// TCP listener of the HTTP API; beyond loopback only together with a token.
    pub listen: SocketAddr,
    /// Unix socket of the same API.
    pub socket: Socket,
    /// What a TCP client has to show before it may change anything.
    pub token: Option<Token>,
}

/// A unix socket as a file: who may write to it may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Where it is.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Its group by name, where it is another than the process's own.
    pub group: Option<String>,
}

/// A bearer token (RFC 6750). It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Whether this is the token, in time that does not depend on where the two differ.
    pub fn matches(&self, presented: &str) -> bool {
        let (own, other) = (self.0.as_bytes(), presented.as_bytes());
        own.len() == other.len() && own.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl Socket {
    /// Owner and group.
    pub const MODE_DEFAULT: u32 = 0o660;
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How the log looks; the command line overrides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// For people or for programs.
    pub format: Format,
    /// The least important messages that are written.
    pub level: Level,
}

pub(super) fn read(section: &mut Section<'_>) -> Management {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9464));
    let address = value::text("an address with a port like \"127.0.0.1:9464\"", |text| text.parse().ok());
    let listen = section.or("listen", default, address);
    let path = section.or(
        "socket",
        PathBuf::from("/run/nat-gateway/control.sock"),
        value::text("an absolute path of at most 107 bytes", socket_path),
    );
    let modes = "permissions in octal like \"0660\", at most \"0777\", of which the owner has 6";
    let mode = section.or("socket_mode", Socket::MODE_DEFAULT, value::text(modes, socket_mode));
    let group = section.optional("socket_group", value::text("a group's name", group));
    let token = section.optional("token", |text| {
        value::text(TOKENS, token)(text)
            .map_err(|refusal| value::Refusal { found: "another".to_owned(), ..refusal })
    });
    if !listen.value.ip().is_loopback() && !section.has("token") {
        let allowed = "a loopback address like \"127.0.0.1:9464\", or any together with a token";
        section.wrong(listen.line, "listen", listen.value, allowed);
    }
    let socket = Socket { path: path.value, mode: mode.value, group: group.map(|group| group.value) };
    Management { listen: listen.value, socket, token: token.map(|token| token.value) }
}

pub(super) fn read_log(section: &mut Section<'_>) -> Log {
    let formats = [Format::Text, Format::Json].map(|format| (format.name(), format));
    let format = section.or("format", Format::Text, value::choice(&formats));
    let levels = Level::ALL.map(|level| (level.name(), level));
    let level = section.or("level", Level::Info, value::choice(&levels));
    Log { format: format.value, level: level.value }
}

/// A path that fits into `sockaddr_un` with its NUL.
fn socket_path(text: &str) -> Option<PathBuf> {
    (text.starts_with('/') && text.len() <= 107 && !text.contains('\0')).then(|| PathBuf::from(text))
}

fn socket_mode(text: &str) -> Option<u32> {
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = is_octal.then(|| u32::from_str_radix(text, 8).ok()).flatten()?;
    (mode <= 0o777 && mode & 0o600 == 0o600).then_some(mode)
}

/// As useradd(8) takes it.
fn group(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!text.is_empty() && text.len() <= 32 && text.chars().all(is_plain)).then(|| text.to_owned())
}

fn token(text: &str) -> Option<Token> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    (text.len() >= 8 && is_plain).then(|| Token(text.to_owned()))
}

const TOKENS: &str = "8 or more visible ASCII characters";
