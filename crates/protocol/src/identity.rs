//! Who attests: Ed25519 keys as did:key, and their signatures.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signer as _, Verifier as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteArray;

use crate::Error;

/// Multicodec prefix of an Ed25519 public key in a did:key.
const ED25519_PUB: [u8; 2] = [0xed, 0x01];

/// An Ed25519 public key: the identity of an executor. In DAG-CBOR it is its bytes, in JSON its did:key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub ByteArray<32>);

impl PublicKey {
    /// The key of these bytes; whether they are a point of the curve shows at [`PublicKey::verify`].
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(ByteArray::new(bytes))
    }

    /// `did:key:z6Mk…`, as receipts name their issuer.
    #[must_use]
    pub fn did(&self) -> String {
        let bytes = [&ED25519_PUB[..], &self.0[..]].concat();
        format!("did:key:z{}", base58(&bytes))
    }

    /// Checks that this key signed `message`.
    ///
    /// # Errors
    /// The bytes are no key, or the signature is not of this key and message.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Error> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .map_err(|_| Error::Signature("the public key is not a point of Ed25519"))?;
        key.verify(message, &ed25519_dalek::Signature::from_bytes(&signature.0))
            .map_err(|_| Error::Signature("it was not made by this key over this message"))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.did())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(did: &str) -> Result<Self, Error> {
        let base58 = did
            .strip_prefix("did:key:z")
            .filter(|text| text.len() <= BASE58_MAX);
        let bytes = base58.and_then(of_base58).ok_or(NO_DID)?;
        let key = bytes.strip_prefix(&ED25519_PUB).ok_or(NO_DID)?;
        Ok(Self::new(key.try_into().map_err(|_| NO_DID)?))
    }
}

const NO_DID: Error = Error::Signature("a key is written `did:key:z6Mk…`");

/// Longer than the base58 of 34 bytes ever is.
const BASE58_MAX: usize = 64;

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(D::Error::custom)
        } else {
            ByteArray::deserialize(deserializer).map(Self)
        }
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature(pub ByteArray<64>);

impl Signature {
    /// The signature of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 64]) -> Self {
        Self(ByteArray::new(bytes))
    }
}

/// A secret key held in memory: of a native executor, of the simulator, of a browser without WebCrypto Ed25519.
pub struct Identity(ed25519_dalek::SigningKey);

impl Identity {
    /// The identity of a 32-byte seed (the secret key itself).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// What others know of it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::new(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::new(self.0.sign(message).to_bytes())
    }
}

/// Bitcoin's alphabet of base58.
const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// For thirty-odd bytes: quadratic is fine. Receipts name their issuer so, hence in large steps: words of 32 bits in, digits of
/// 58⁵ out.
fn base58(bytes: &[u8]) -> String {
    const STEP: u64 = 58_u64.pow(5);
    let mut digits: Vec<u64> = Vec::new();
    // The first word is the short one.
    let (first, words) = bytes.split_at(bytes.len() % 4);
    for word in std::iter::once(first).chain(words.chunks(4)) {
        let mut carry = word
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        for digit in &mut digits {
            carry += *digit << 32;
            *digit = carry % STEP;
            carry /= STEP;
        }
        while carry > 0 {
            digits.push(carry % STEP);
            carry /= STEP;
        }
    }
    let mut symbols: Vec<u8> = Vec::with_capacity(5 * digits.len());
    for digit in &digits {
        let mut rest = *digit;
        for _ in 0..5 {
            symbols.push(ALPHABET[(rest % 58) as usize]);
            rest /= 58;
        }
    }
    // What the largest digit is short of.
    while symbols.last() == Some(&ALPHABET[0]) {
        symbols.pop();
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    symbols.extend(std::iter::repeat_n(ALPHABET[0], zeros));
    symbols
        .iter()
        .rev()
        .map(|symbol| char::from(*symbol))
        .collect()
}

/// The inverse of [`base58`]; `None` for other letters.
fn of_base58(text: &str) -> Option<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::new();
    for symbol in text.bytes() {
        let mut carry = ALPHABET.iter().position(|known| *known == symbol)? as u32;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    let zeros = text
        .bytes()
        .take_while(|symbol| *symbol == ALPHABET[0])
        .count();
    Some(
        std::iter::repeat_n(0, zeros)
            .chain(bytes.into_iter().rev())
            .collect(),
    )
}
