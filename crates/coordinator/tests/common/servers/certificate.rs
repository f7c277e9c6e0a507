//! Certificates of the tests' own, made by the Python that `cargo xtask test` installs moto with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Makes a certificate for `127.0.0.1`, and an authority that it rests on: `certificate.pem` with `key.pem`, and `authority.pem`, in
/// this folder.
pub(crate) fn make(folder: &Path) {
    let made = Command::new(python())
        .args(["-c", CERTIFICATE])
        .arg(folder)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

const CERTIFICATE: &str = r#"
import datetime, ipaddress, pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

folder = pathlib.Path(sys.argv[1])
now = datetime.datetime.now(datetime.timezone.utc)

def name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

def certificate(subject, key, issuer, issuer_key, extensions):
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer_key, hashes.SHA256())

pem = serialization.Encoding.PEM
authority_key = ec.generate_private_key(ec.SECP256R1())
key = ec.generate_private_key(ec.SECP256R1())
authority = certificate(
    "authority", authority_key, "authority", authority_key, [x509.BasicConstraints(ca=True, path_length=None)]
)
own = certificate(
    "store", key, "authority", authority_key,
    [
        x509.BasicConstraints(ca=False, path_length=None),
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
    ],
)
(folder / "authority.pem").write_bytes(authority.public_bytes(pem))
(folder / "certificate.pem").write_bytes(own.public_bytes(pem))
(folder / "key.pem").write_bytes(
    key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
)
"#;

/// The interpreter that has moto.
pub(crate) fn python() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut above = here.ancestors();
    let root = above.find(|folder| folder.join("Cargo.lock").is_file());
    let folder = root.expect("a workspace").join("target/tools/moto");
    if !fs::exists(folder.join(".whole")).unwrap_or(false) {
        panic!(
            "there is no moto in {}: `cargo xtask test` installs it where there is a network, and Python with venv",
            folder.display()
        );
    }
    folder.join("bin/python")
}
