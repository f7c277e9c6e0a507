//! Where a database is. What is shown of it never has the password.

use std::{fmt, str::FromStr};

use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

/// The address of a PostgreSQL database, as `postgres://user:password@host:port/name`. `?sslmode=` behind it says whether TLS is
/// spoken: `disable`, `prefer` (where the server can; so it is without it) or `require`. A server that speaks it has to have a
/// certificate that is trusted here and is for its host.
#[derive(Clone, PartialEq, Eq)]
pub struct Database(Config);

/// Why a text is no address. It does not repeat the text, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is not of the form postgres://user:password@host:port/name, where `@`, `:`, `/` and `%` in a password are written \
     `%40`, `%3A`, `%2F` and `%25`; behind it may be ?sslmode=disable, prefer or require, which checks the certificate as \
     verify-full does elsewhere"
)]
pub struct NoDatabase;

impl Database {
    pub(super) const fn config(&self) -> &Config {
        &self.0
    }
}

impl FromStr for Database {
    type Err = NoDatabase;

    fn from_str(text: &str) -> Result<Self, NoDatabase> {
        // The driver knows another form, whose mistakes it repeats word for word.
        let schemes = ["postgres://", "postgresql://"];
        if !schemes.iter().any(|scheme| text.starts_with(scheme)) {
            return Err(NoDatabase);
        }
        let mut config: Config = text.parse().map_err(|_| NoDatabase)?;
        // The rest of a password with an `@` in it would be taken for a host, and shown.
        let is_name = |host: &Host| match host {
            Host::Tcp(name) => !name.is_empty() && !name.contains('@'),
            #[cfg(unix)]
            Host::Unix(_) => true,
        };
        if config.get_hosts().is_empty() || !config.get_hosts().iter().all(is_name) {
            return Err(NoDatabase);
        }
        // As libpq has it, whatever `sslmode` says: nobody is in between, and no server speaks TLS there.
        if config.get_hostaddrs().is_empty() && config.get_hosts().iter().all(is_socket) {
            config.ssl_mode(SslMode::Disable);
        }
        Ok(Self(config))
    }
}

/// Is it a folder with a socket of this machine?
const fn is_socket(host: &Host) -> bool {
    match host {
        Host::Tcp(_) => false,
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.0.get_user() {
            write!(f, "{user}@")?;
        }
        let mut ports = self.0.get_ports().iter();
        for (index, host) in self.0.get_hosts().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}")?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
            if let Some(port) = ports.next() {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.0.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (text, shown) in [
            (
                "postgres://me:s%40cret@db.internal:5433/jobs?connect_timeout=3",
                "postgres://me@db.internal:5433/jobs",
            ),
            (
                "postgresql://me@one,two:6000/jobs?password=s%40cret",
                "postgres://me@one:5432,two:6000/jobs",
            ),
            ("postgres://[::1]/jobs", "postgres://::1:5432/jobs"),
        ] {
            let database: Database = text.parse().unwrap();
            assert_eq!(database.to_string(), shown);
            assert_eq!(format!("{database:?}"), shown);
        }
    }

    #[test]
    fn what_never_leaves_the_machine_is_not_encrypted() {
        for (text, mode) in [
            ("postgres://me@db/jobs", SslMode::Prefer),
            ("postgres://me@db/jobs?sslmode=require", SslMode::Require),
            ("postgres://me@%2Frun%2Fpostgresql/jobs", SslMode::Disable),
            (
                "postgres://me@%2Frun%2Fpostgresql/jobs?sslmode=require",
                SslMode::Disable,
            ),
            (
                "postgres://me@%2Frun%2Fpostgresql,db/jobs?sslmode=require",
                SslMode::Require,
            ),
        ] {
            let database: Database = text.parse().unwrap();
            assert_eq!(database.config().get_ssl_mode(), mode, "{text}");
        }
    }

    #[test]
    fn a_mistake_in_an_address_does_not_repeat_it() {
        for text in [
            "mysql://me:secret@db/jobs",
            "host=db password=two secret",
            "postgres://me:a@secret@db/jobs",
            "postgres://me:secret",
            "postgres://me:secret@/jobs",
            "postgres://me:secret@db:secret/jobs",
            "postgres://me@db/jobs?secret=secret",
            "postgres://me:secret@db/jobs?sslmode=verify-full",
        ] {
            let error = text.parse::<Database>().unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("secret"), "{text}: {said}");
        }
    }
}
