//! An nginx of a test's own.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::started::says;

/// An nginx that ends with this value.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Starts nginx in a folder with the configuration of a page, but for these words and the port.
    pub(crate) fn start(folder: &Path, page: &str, changes: Vec<(String, String)>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let own = [
            ("listen 127.0.0.1:4500;".into(), format!("listen 127.0.0.1:{port};")),
            // It says then that it has begun.
            ("error_log stderr warn;".into(), "error_log stderr notice;".into()),
        ];
        let mut configuration = fs::read_to_string(page).unwrap();
        for (written, instead) in changes.into_iter().chain(own) {
            assert!(configuration.contains(&written), "{written}");
            configuration = configuration.replace(&written, &instead);
        }
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let mut child = Command::new("nginx")
            .args(["-g", "daemon off;", "-p"])
            .arg(folder)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(says(child.stderr.take().unwrap(), &["start worker process"]), "nginx has ended");
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it when it is asked, and not when it is killed.
        let kill = format!("kill {}", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
        let _ = self.child.wait();
    }
}
