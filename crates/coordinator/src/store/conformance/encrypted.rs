//! A database whose connections are encrypted: whom a journal believes there, and what it says to others.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::OnceLock,
    thread,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::{
    database::{new_database, talk},
    servers::{certificate, postgres::Postgres},
};
use crate::store::{JournalError, PostgresJournal, postgres::Tls, tls};

struct Server {
    postgres: Postgres,
    authority: CertificateDer<'static>,
}

/// A server with a certificate for `127.0.0.1`, that the tests here share.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        certificate::make(folder.path());
        let authority = folder.path().join("authority.pem");
        Server {
            postgres: Postgres::start_with(Some(folder.path())),
            authority: CertificateDer::from_pem_file(authority).unwrap(),
        }
    })
}

/// Trusts these authorities, and not those of this machine.
fn trusting(authorities: &[&CertificateDer<'static>]) -> Tls {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add((*authority).clone()).unwrap();
    }
    let config = tls::with(|builder| Ok(builder.with_root_certificates(roots)));
    config.unwrap().into()
}

fn connect(url: &str, tls: Tls) -> Result<PostgresJournal, JournalError> {
    PostgresJournal::connect_by(&url.parse().unwrap(), tls)
}

#[track_caller]
fn refused(url: &str, tls: Tls, words: &[&str]) {
    let Err(error) = connect(url, tls) else {
        panic!("it is believed at {url}")
    };
    let said = error.to_string();
    for words in words {
        assert!(said.contains(words), "{said}");
    }
}

/// Which of the connections to this database are encrypted, as it sees them.
fn encrypted(url: &str) -> Vec<bool> {
    let rows = talk(url, async |client| {
        client
            .query(
                "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
                &[],
            )
            .await
            .unwrap()
    });
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_trusted_database_is_spoken_with_over_tls() {
    let server = server();
    let url = server.postgres.database("trusted");
    for mode in ["", "?sslmode=prefer", "?sslmode=require"] {
        let tls = trusting(&[&server.authority]);
        let journal = connect(&format!("{url}{mode}"), tls).unwrap();
        assert_eq!(journal.name().unwrap(), None);
        // One that writes and one that reads.
        let seen = encrypted(&url);
        assert!(seen.len() >= 2, "{mode}: {seen:?}");
        // Those of the round before may not be gone yet.
        assert!(seen.iter().all(|is| *is), "{mode}: {seen:?}");
    }
}

#[test]
fn an_untrusted_database_is_told_nothing() {
    let url = server().postgres.database("untrusted");
    for mode in ["", "?sslmode=require"] {
        let remedies = [
            "failed to speak TLS",
            "UnknownIssuer",
            "SSL_CERT_FILE",
            "sslmode=disable",
            ", at postgres://asterism@127.0.0.1:",
        ];
        refused(&format!("{url}{mode}"), trusting(&[]), &remedies);
        assert!(encrypted(&url).is_empty(), "{mode}");
    }
}

#[test]
fn a_database_with_the_certificate_of_another_name_is_told_nothing() {
    let server = server();
    let url = server.postgres.database("misnamed");
    let misnamed = url.replace("127.0.0.1", "db.example");
    let tls = trusting(&[&server.authority]);
    refused(
        &format!("{misnamed}?hostaddr=127.0.0.1"),
        tls.clone(),
        &["its certificate is for another name", "sslmode=disable"],
    );
    // An address may be told beside the name.
    connect(&format!("{url}?hostaddr=127.0.0.1"), tls).unwrap();
}

#[test]
fn who_says_so_does_without_tls() {
    let url = server().postgres.database("plain");
    let _journal = connect(&format!("{url}?sslmode=disable"), trusting(&[])).unwrap();
    assert_eq!(encrypted(&url), [false]);
}

#[test]
fn a_database_without_tls_is_spoken_with_unless_it_is_required() {
    let url = new_database();
    refused(
        &format!("{url}?sslmode=require"),
        trusting(&[]),
        &["failed to connect", "server does not support TLS"],
    );
    let _journal = connect(&url, trusting(&[])).unwrap();
    assert_eq!(encrypted(&url), [false]);
}

#[test]
fn a_handshake_that_stalls_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The driver asks for TLS, and hears that it may begin.
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"S").unwrap();
        // Until it goes.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let url = format!("postgres://me@{address}/jobs");
    refused(&url, trusting(&[]), &["failed to connect: nobody answers"]);
}
