//! The file of a Unix socket.

use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a Unix socket, which is removed when this is dropped; if it is still the same.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// What tells a file from another one of the same name.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let identity = identity(&fs::symlink_metadata(path)?);
        // A path of which a part is missing is of no use where another folder is the current one.
        Ok(Self { path: std::path::absolute(path)?, identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path).is_ok_and(|it| identity(&it) == self.identity);
        if same {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a Unix socket at a path, and listens there.
pub(super) fn listen(
    path: &Path,
    mode: Option<u32>,
    backlog: i32,
) -> io::Result<(UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    let file = SocketFile::of(path)?;
    if let Some(mode) = mode {
        // Nobody can connect to a socket that does not listen yet.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(backlog)?;
    Ok((socket.into(), file))
}

/// Removes the socket of a server that has ended without removing it: only a socket, and only where
/// nobody answers.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let kind = io::ErrorKind::AlreadyExists;
        return Err(io::Error::new(kind, "there is something that is no socket"));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // One whose backlog is full answers in its own time.
    socket.set_nonblocking(true)?;
    match socket.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
        Ok(()) | Err(_) => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers there"));
        }
    }
    // Another server may have taken the place meanwhile.
    if fs::symlink_metadata(path).is_ok_and(|now| identity(&now) == identity(&found)) {
        fs::remove_file(path)?;
    }
    Ok(())
}
