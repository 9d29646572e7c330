//! A certificate authority of our own, for servers that speak TLS.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// An authority of our own, and a certificate of it for `localhost` and 127.77.0.1, made by openssl(1).
#[derive(Debug)]
pub struct Authority {
    directory: tempfile::TempDir,
}

impl Authority {
    /// Makes both.
    ///
    /// # Errors
    /// When openssl cannot.
    pub fn new() -> io::Result<Self> {
        let authority = Self { directory: tempfile::tempdir()? };
        // Servers run as other users, and read their certificates themselves.
        fs::set_permissions(authority.directory.path(), fs::Permissions::from_mode(0o755))?;
        let subject = ["-nodes", "-newkey", "rsa:2048", "-days", "2", "-sha256"];
        authority.openssl(&[
            &["req", "-x509"],
            &subject[..],
            &["-subj", "/CN=Authority", "-keyout", "ca.key", "-out", "ca.pem"],
        ])?;
        authority.openssl(&[
            &["req"],
            &subject[..3],
            &["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "csr.pem"],
        ])?;
        fs::write(authority.file("names"), "subjectAltName=DNS:localhost,IP:127.77.0.1\n")?;
        let sign = ["x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        authority.openssl(&[&sign, &["-days", "2", "-sha256", "-extfile", "names", "-out", "cert.pem"]])?;
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            fs::set_permissions(authority.file(name), fs::Permissions::from_mode(0o644))?;
        }
        Ok(authority)
    }

    fn openssl(&self, arguments: &[&[&str]]) -> io::Result<()> {
        let mut command = Command::new("openssl");
        let output = command.args(arguments.concat()).current_dir(self.directory.path()).output()?;
        let said = || io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned());
        if output.status.success() { Ok(()) } else { Err(said()) }
    }

    /// `ca.pem`, `cert.pem` or `key.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
