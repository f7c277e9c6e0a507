//! A PostgreSQL of the test's own: from the distribution's programs, in a temporary folder, on a port of its own, as a
//! user without rights. It ends with the test, however that ends.

use std::{
    fs, io,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, free_port, guard::Guard};

/// Who runs it where the test is root: PostgreSQL refuses root. By Debian's numbers that is `nobody`.
const NOBODY: u32 = 65_534;

/// A server, and the folder with all of its data.
pub(crate) struct Postgres {
    folder: PathBuf,
    port: u16,
    is_encrypted: bool,
    server: Child,
    /// It also removes the folder.
    guard: Guard,
}

impl Postgres {
    /// Makes one and starts it. It speaks no TLS.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// One that speaks TLS where it is asked to, if there is a folder with its `certificate.pem` and `key.pem`.
    pub(crate) fn start_with(certificate: Option<&Path>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("asterism-postgres-")
            .tempdir()
            .unwrap()
            .keep();
        let guard = Guard::start(Command::new("sh").args(["-c", GUARD, "guard"]).arg(&folder));
        if is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = folder.join("data");
        let made = program("initdb")
            .args(["--username=asterism", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        if let Some(certificate) = certificate {
            // By these names it looks for them. A key that others may read it refuses.
            for (from, to) in [("certificate.pem", "server.crt"), ("key.pem", "server.key")] {
                let to = data.join(to);
                fs::copy(certificate.join(from), &to).unwrap();
                fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
                if is_root() {
                    chown(&to, Some(NOBODY), Some(NOBODY)).unwrap();
                }
            }
        }
        let (port, is_encrypted) = (free_port(), certificate.is_some());
        let server = serve(&data, port, is_encrypted);
        let mut postgres = Self {
            folder,
            port,
            is_encrypted,
            server,
            guard,
        };
        postgres.wait();
        postgres
    }

    /// The address of a new, empty database.
    pub(crate) fn database(&self, name: &str) -> String {
        let output = program("createdb")
            .args(["--host=127.0.0.1", "--username=asterism", "--port"])
            .args([&self.port.to_string(), name])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        format!("postgres://asterism@127.0.0.1:{}/{name}", self.port)
    }

    /// Ends it by signal 9, so that it has to recover, and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.serve();
        self.wait();
    }

    fn serve(&mut self) {
        let data = self.folder.join("data");
        self.server = serve(&data, self.port, self.is_encrypted);
    }

    /// Waits until it answers. One that was killed leaves children for a moment, beside which no other starts.
    fn wait(&mut self) {
        let begun = Instant::now();
        loop {
            let asked = program("pg_isready")
                .args(["--quiet", "--host=127.0.0.1", "--port"])
                .arg(self.port.to_string())
                .status();
            if asked.unwrap().success() {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("PostgreSQL does not start: {log}");
            }
            if self.server.try_wait().unwrap().is_some() {
                self.serve();
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.guard.end();
        let _ = self.server.wait();
    }
}

/// Ends the server when its standard input does, which also happens when the test is killed.
const GUARD: &str = r#"
    trap '' INT TERM
    cat >/dev/null
    pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
    if [ -n "$pid" ]; then
        kill -QUIT "$pid" 2>/dev/null
        for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    fi
    rm -rf "$1"
"#;

fn serve(data: &Path, port: u16, is_encrypted: bool) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(data.with_file_name("log"))
        .unwrap();
    program("postgres")
        .arg("-D")
        .arg(data)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories="])
        .args(["-c", if is_encrypted { "ssl=on" } else { "ssl=off" }])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// One of PostgreSQL's programs, as a user that it accepts. Debian keeps them out of the path, a folder for each version.
fn program(name: &str) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .filter_map(|version| Some(version.ok()?.path()))
        .filter(|path| path.join("bin").join(name).is_file())
        .max_by_key(number);
    let path = newest.map_or_else(|| PathBuf::from(name), |path| path.join("bin").join(name));
    let mut command = Command::new(&path);
    if let Err(error) = Command::new(&path).arg("--version").output() {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        panic!(
            "there is no {name}: `cargo xtask test` installs PostgreSQL as root, or `apt-get install postgresql`"
        );
    }
    // Where everybody may be.
    command.current_dir("/");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
