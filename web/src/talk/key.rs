//! Who this browser is: an Ed25519 key, made on the first start and kept.
//!
//! The secret is WebCrypto's and cannot be read, not even by this page, where the browser offers that (Safari 17,
//! Firefox 129, Chrome 137 and later, on secure origins). Elsewhere it is a seed in the same database. Where nothing can be
//! kept (a private window), the key lasts as long as the worker.

use asterism_protocol::{Identity, PublicKey, Signature};
use js_sys::{Array, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    CryptoKey, IdbDatabase, IdbOpenDbRequest, IdbRequest, IdbTransactionMode, SubtleCrypto,
    WorkerGlobalScope,
};

use crate::js::{get, random};

const DATABASE: &str = "asterism";
const STORE: &str = "keys";
const EXECUTOR: &str = "executor";
const ALGORITHM: &str = "Ed25519";

/// The key of this browser.
pub(crate) struct Key {
    public: PublicKey,
    secret: Secret,
}

enum Secret {
    /// In the browser's keeping.
    WebCrypto(SubtleCrypto, CryptoKey),
    /// In ours.
    Seed(Box<Identity>),
}

impl Key {
    /// The key that was made before, or a new one.
    pub(crate) async fn load_or_make() -> Self {
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        // Absent where the origin is not secure: a coordinator reached over plain HTTP by another machine.
        let subtle = scope
            .crypto()
            .ok()
            .map(|crypto| crypto.subtle())
            .filter(|subtle| !subtle.is_undefined());
        let database = open(&scope).await.ok();
        if let Some(database) = &database
            && let Ok(record) = read(database).await
            && let Some(key) = Self::of_record(&record, subtle.as_ref())
        {
            return key;
        }
        let (key, record) = Self::make(subtle).await;
        if let Some(database) = &database {
            // Nothing is lost when it cannot be kept: the next start makes another.
            let _ = write(database, &record).await;
        }
        key
    }

    /// What others know of it.
    pub(crate) fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `bytes`.
    pub(crate) async fn sign(&self, bytes: &[u8]) -> Result<Signature, JsValue> {
        match &self.secret {
            Secret::Seed(identity) => Ok(identity.sign(bytes)),
            Secret::WebCrypto(subtle, key) => {
                let bytes = Uint8Array::from(bytes);
                let signed = subtle.sign_with_str_and_buffer_source(ALGORITHM, key, &bytes)?;
                let signature: [u8; 64] =
                    bytes_of(&JsFuture::from(signed).await?).ok_or(JsValue::UNDEFINED)?;
                Ok(Signature::new(signature))
            }
        }
    }

    async fn make(subtle: Option<SubtleCrypto>) -> (Self, JsValue) {
        if let Some(subtle) = subtle
            && let Ok((public, secret)) = make_with(&subtle).await
        {
            let record = record(&[
                ("public", Uint8Array::from(&public[..]).into()),
                ("secret", secret.clone().into()),
            ]);
            return (
                Self {
                    public: PublicKey::new(public),
                    secret: Secret::WebCrypto(subtle, secret),
                },
                record,
            );
        }
        let seed = random();
        let record = record(&[("seed", Uint8Array::from(&seed[..]).into())]);
        (Self::of_seed(&seed), record)
    }

    fn of_record(record: &JsValue, subtle: Option<&SubtleCrypto>) -> Option<Self> {
        if let Some(seed) = bytes_of(&get(record, "seed")) {
            return Some(Self::of_seed(&seed));
        }
        let public = PublicKey::new(bytes_of(&get(record, "public"))?);
        let secret = get(record, "secret").dyn_into().ok()?;
        Some(Self {
            public,
            secret: Secret::WebCrypto(subtle?.clone(), secret),
        })
    }

    fn of_seed(seed: &[u8; 32]) -> Self {
        let identity = Identity::from_seed(seed);
        Self {
            public: identity.public_key(),
            secret: Secret::Seed(Box::new(identity)),
        }
    }
}

/// A key pair whose secret cannot be exported.
async fn make_with(subtle: &SubtleCrypto) -> Result<([u8; 32], CryptoKey), JsValue> {
    let usages = Array::of2(&"sign".into(), &"verify".into());
    let pair = JsFuture::from(subtle.generate_key_with_str(ALGORITHM, false, &usages)?).await?;
    let public: CryptoKey = get(&pair, "publicKey").dyn_into()?;
    let secret: CryptoKey = get(&pair, "privateKey").dyn_into()?;
    let raw = JsFuture::from(subtle.export_key("raw", &public)?).await?;
    Ok((bytes_of(&raw).ok_or(JsValue::UNDEFINED)?, secret))
}

/// `value` as bytes, if it is a buffer of so many.
fn bytes_of<const N: usize>(value: &JsValue) -> Option<[u8; N]> {
    if !value.is_object() {
        return None;
    }
    Uint8Array::new(value).to_vec().try_into().ok()
}

fn record(fields: &[(&str, JsValue)]) -> JsValue {
    let record = Object::new();
    for (name, value) in fields {
        // Fails for frozen objects only.
        let _ = Reflect::set(&record, &(*name).into(), value);
    }
    record.into()
}

async fn open(scope: &WorkerGlobalScope) -> Result<IdbDatabase, JsValue> {
    let factory = scope.indexed_db()?.ok_or(JsValue::UNDEFINED)?;
    let request: IdbOpenDbRequest = factory.open_with_u32(DATABASE, 1)?;
    let upgrading = request.clone();
    let upgrade = Closure::once(move |_: JsValue| {
        if let Ok(database) = upgrading.result().and_then(JsCast::dyn_into::<IdbDatabase>) {
            let _ = database.create_object_store(STORE);
        }
    });
    request.set_onupgradeneeded(Some(upgrade.as_ref().unchecked_ref()));
    settled(&request).await?.dyn_into()
}

async fn read(database: &IdbDatabase) -> Result<JsValue, JsValue> {
    let store = database.transaction_with_str(STORE)?.object_store(STORE)?;
    settled(&store.get(&EXECUTOR.into())?).await
}

async fn write(database: &IdbDatabase, record: &JsValue) -> Result<JsValue, JsValue> {
    let transaction =
        database.transaction_with_str_and_mode(STORE, IdbTransactionMode::Readwrite)?;
    settled(
        &transaction
            .object_store(STORE)?
            .put_with_key(record, &EXECUTOR.into())?,
    )
    .await
}

/// What a request comes to.
async fn settled(request: &IdbRequest) -> Result<JsValue, JsValue> {
    let promise = Promise::new(&mut |resolve, reject| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&reject));
        // A database that an older page holds open: go on without rather than wait for that page.
        if let Some(opening) = request.dyn_ref::<IdbOpenDbRequest>() {
            opening.set_onblocked(Some(&reject));
        }
    });
    JsFuture::from(promise).await?;
    request.result()
}
