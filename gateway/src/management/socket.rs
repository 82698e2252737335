//! The unix socket as a file: made with the right mode, and removed by the one that made it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Owner and group may connect.
const MODE: u32 = 0o660;

/// A directory made for the socket. Nobody else may enter it, so nobody connects before the mode is set.
const DIRECTORY_MODE: u32 = 0o750;

/// The file of a bound socket, removed on drop unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens at `path`; takes the place of a socket at which nothing answers.
pub(super) fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let metadata = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.into(), device: metadata.dev(), inode: metadata.ino() };
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    Ok((listener, file))
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

    #[test]
    fn makes_the_directory_and_lets_owner_and_group_connect() {
        let directory = directory();
        let path = directory.path().join("a/b/control.sock");
        let (_listener, file) = listen(&path).unwrap();
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
        let (_listener, _file) = listen(&path).unwrap();
        let error = listen(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[test]
    fn leaves_a_file_that_is_no_socket_alone() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        assert_eq!(listen(&path).unwrap_err().to_string(), "exists and is not a socket");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn leaves_a_successor_s_socket_alone() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        let (_listener, file) = listen(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
