//! Where a database is. What is shown of it never has the password.

use std::{fmt, str::FromStr};

use tokio_postgres::{Config, config::Host};

/// The address of a PostgreSQL database, as `postgres://user:password@host:port/name`.
#[derive(Clone, PartialEq, Eq)]
pub struct Database(Config);

/// Why a text is no address. It does not repeat the text, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is not of the form postgres://user:password@host:port/name, where `@`, `:`, `/` and `%` in a password are written \
     `%40`, `%3A`, `%2F` and `%25`"
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
        let config: Config = text.parse().map_err(|_| NoDatabase)?;
        // The rest of a password with an `@` in it would be taken for a host, and shown.
        let is_name = |host: &Host| match host {
            Host::Tcp(name) => !name.is_empty() && !name.contains('@'),
            #[cfg(unix)]
            Host::Unix(_) => true,
        };
        if config.get_hosts().is_empty() || !config.get_hosts().iter().all(is_name) {
            return Err(NoDatabase);
        }
        Ok(Self(config))
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
    fn a_mistake_in_an_address_does_not_repeat_it() {
        for text in [
            "mysql://me:secret@db/jobs",
            "host=db password=two secret",
            "postgres://me:a@secret@db/jobs",
            "postgres://me:secret",
            "postgres://me:secret@/jobs",
            "postgres://me:secret@db:secret/jobs",
            "postgres://me@db/jobs?secret=secret",
        ] {
            let error = text.parse::<Database>().unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("secret"), "{text}: {said}");
        }
    }
}
