//! The unix socket as a file: made with the right mode, and removed by the one that made it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::Group;

use natgw_config::Socket;

/// A directory made for the socket. No other user may enter it, so that no client connects before the mode is set.
const DIRECTORY_MODE: u32 = 0o750;

/// The file of a bound socket, removed on drop unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens at the path of `socket`; takes the place of a socket at which nothing answers.
pub(super) fn listen(socket: &Socket) -> io::Result<(UnixListener, SocketFile)> {
    let path = socket.path.as_path();
    let group = socket.group.as_deref().map(group_id).transpose()?;
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
        // The group has to get through to the socket.
        chown(directory, None, group)?;
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let metadata = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.into(), device: metadata.dev(), inode: metadata.ino() };
    chown(path, None, group)?;
    fs::set_permissions(path, Permissions::from_mode(socket.mode))?;
    Ok((listener, file))
}

fn group_id(name: &str) -> io::Result<u32> {
    match Group::from_name(name)? {
        Some(group) => Ok(group.gid.as_raw()),
        None => Err(io::Error::new(ErrorKind::NotFound, format!("socket_group: there is no group {name}"))),
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "exists and is not a socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another gateway answers there")),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if ours {
            // Nothing to do about a directory that has become read-only: the next start finds a stale socket.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn socket(path: &Path) -> Socket {
        Socket { path: path.into(), mode: Socket::MODE_DEFAULT, group: None }
    }

    #[test]
    fn has_the_mode_and_group_that_it_is_given() {
        let directory = directory();
        let path = directory.path().join("a/control.sock");
        // A group that this process is in: its own, so that it may give the file away.
        let own = Group::from_gid(nix::unistd::getegid()).unwrap().unwrap();
        let (_listener, _file) =
            listen(&Socket { mode: 0o600, group: Some(own.name), ..socket(&path) }).unwrap();
        for place in [path.as_path(), path.parent().unwrap()] {
            assert_eq!(fs::metadata(place).unwrap().gid(), own.gid.as_raw());
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_group_that_there_is_not_is_named() {
        let directory = directory();
        let path = directory.path().join("a/control.sock");
        let error = listen(&Socket { group: Some("no-such-group".into()), ..socket(&path) }).unwrap_err();
        assert_eq!(error.to_string(), "socket_group: there is no group no-such-group");
        assert!(!path.parent().unwrap().exists(), "nothing was made");
    }

    #[test]
    fn makes_the_directory_and_lets_owner_and_group_connect() {
        let directory = directory();
        let path = directory.path().join("a/b/control.sock");
        let (_listener, file) = listen(&socket(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o750);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn takes_the_place_of_a_dead_socket_only() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_listener, _file) = listen(&socket(&path)).unwrap();
        let error = listen(&socket(&path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[test]
    fn leaves_a_file_that_is_no_socket_alone() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        assert_eq!(listen(&socket(&path)).unwrap_err().to_string(), "exists and is not a socket");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn leaves_a_successor_s_socket_alone() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        let (_listener, file) = listen(&socket(&path)).unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
