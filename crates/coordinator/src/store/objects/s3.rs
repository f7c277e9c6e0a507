//! S3, and what speaks like it: how it is reached, and what its refusals mean.

use std::{fmt, sync::Arc};

use object_store::{
    BackoffConfig, Error, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey as Key},
};

use super::{Patience, http::Connector};
use crate::store::{BlobError, StoreProblem};

/// Where machines of Amazon ask for keys of their own.
const OWN_KEYS: &str = "169.254.";

/// What a store answers where there is no such bucket. Without this word an answer is of an object.
const NO_BUCKET: &str = "NoSuchBucket";

/// How a store is reached. What is not said here is taken from the environment, by the names that Amazon's own tools know.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Access {
    /// Its address, where it is not Amazon's, as `https://minio.internal:9000`.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// The name of the key.
    pub key_id: Option<String>,
    /// The key.
    pub secret_key: Option<String>,
    /// The address may be one without encryption.
    pub allow_http: bool,
}

impl fmt::Debug for S3Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even the name of the key is for everybody.
        f.debug_struct("S3Access")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
    }
}

/// A bucket.
pub(super) fn store(
    bucket: &str,
    place: &str,
    access: &S3Access,
    patience: Patience,
) -> Result<Arc<dyn ObjectStore>, BlobError> {
    let given = [
        (Key::Endpoint, &access.endpoint),
        (Key::Region, &access.region),
        (Key::AccessKeyId, &access.key_id),
        (Key::SecretAccessKey, &access.secret_key),
    ];
    let mut builder = AmazonS3Builder::from_env();
    for (key, value) in given {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    if access.allow_http {
        builder = builder.with_allow_http(true);
    }
    let retry = RetryConfig {
        backoff: BackoffConfig {
            max_backoff: std::time::Duration::from_secs(2),
            ..BackoffConfig::default()
        },
        max_retries: patience.retries,
        retry_timeout: patience.call,
    };
    let store = builder
        .with_bucket_name(bucket)
        .with_retry(retry)
        // Not all that speak like S3 can delete many at once.
        .with_disable_bulk_delete(true)
        .with_http_connector(Connector(patience))
        .build();
    match store {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(BlobError::Store {
            what: "use",
            place: place.to_owned(),
            problem: StoreProblem::Setting(setting(&error)),
        }),
    }
}

/// What is wrong with settings, in the words of whoever sets them.
fn setting(error: &Error) -> String {
    let said = error.to_string();
    let said = said.strip_prefix("Generic S3 error: ").unwrap_or(&said);
    let said = said
        .strip_prefix("Operation not supported: ")
        .unwrap_or(said);
    match said {
        "Missing SecretAccessKey" => "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not",
        "Missing AccessKeyId" => "AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not",
        said => said,
    }
    .to_owned()
}

/// Does a store say that there is no such object, and nothing else?
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && word(&error.to_string()) != Some(NO_BUCKET)
}

/// Why a store did not do what it was asked for.
pub(super) fn problem(error: &Error) -> StoreProblem {
    let said = error.to_string();
    let answer = answer(&said);
    match error {
        _ if word(&said) == Some(NO_BUCKET) => StoreProblem::NoBucket,
        Error::NotFound { .. } => match word(&said) {
            // Whoever cleans up there took what was begun.
            Some("NoSuchKey" | "NoSuchUpload") => StoreProblem::Gone,
            Some(_) | None => StoreProblem::Setting(elsewhere(&answer)),
        },
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => denied(&said),
        // Not all that is asked has an error of its own for it.
        _ if answer.contains("answered 403") || answer.contains("answered 401") => denied(&said),
        Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::InvalidPath { .. } => {
            StoreProblem::Setting(setting(error))
        }
        _ if said.contains(OWN_KEYS) => StoreProblem::Setting(
            "neither AWS_ACCESS_KEY_ID nor AWS_SECRET_ACCESS_KEY is set, and this machine has no keys of its own".to_owned(),
        ),
        _ if said.contains("AWS_ALLOW_HTTP") => StoreProblem::Setting(answer),
        _ if answer.contains(" 301 ") || said.contains("AuthorizationHeaderMalformed") => {
            StoreProblem::Setting(elsewhere(&answer))
        }
        _ => StoreProblem::Away(answer),
    }
}

/// An answer of whoever may not be the store that is meant.
fn elsewhere(answer: &str) -> String {
    format!("{answer}; look at AWS_REGION and AWS_ENDPOINT_URL")
}

fn denied(said: &str) -> StoreProblem {
    let said = word(said).map_or(String::new(), |word| format!(" ({word})"));
    StoreProblem::Denied { said }
}

/// The code in an answer, such as `SlowDown`: one word of letters.
fn word(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("<Code>")?;
    let (word, _) = rest.split_once("</Code>")?;
    let is_word = word.len() <= 64 && word.chars().all(|c| c.is_ascii_alphanumeric());
    is_word.then_some(word)
}

/// What was answered, without the address that was asked: strangers read it.
fn answer(said: &str) -> String {
    // "Error performing <method> <address> in <time>, after … - <what was answered>"
    let inner = said.split_once(" - ").map_or(said, |(_, inner)| inner);
    if let Some((_, status)) = inner.split_once("status code: ") {
        let status = status.split(':').next().unwrap_or_default().trim();
        let word = word(inner).map_or(String::new(), |word| format!(" ({word})"));
        return format!("the store answered {status}{word}");
    }
    if let Some((_, told)) = inner.split_once("HTTP error: ") {
        return told.to_owned();
    }
    if let Some(word) = word(inner) {
        return format!("the store answered {word}");
    }
    "the store's answer was not understood".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(said: &str) -> Error {
        Error::Generic {
            store: "S3",
            source: said.to_owned().into(),
        }
    }

    #[test]
    fn answers_are_told_without_addresses() {
        let throttled = "Error performing PUT http://10.0.0.7:9000/b/ab/k in 1.2s, after 5 retries, max_retries: 5, \
             retry_timeout: 50s  - Server returned non-2xx status code: 503 Service Unavailable: \
             <Error><Code>SlowDown</Code><Message>http://10.0.0.7</Message></Error>";
        let gone = "Error performing GET http://10.0.0.7:9000/b/ab/k in 1.2s - HTTP error: nobody can be reached there \
             (Connection refused (os error 111))";
        for (said, told) in [
            (
                throttled,
                "the store answered 503 Service Unavailable (SlowDown)",
            ),
            (
                gone,
                "nobody can be reached there (Connection refused (os error 111))",
            ),
            (
                "http://10.0.0.7 said <nonsense>",
                "the store's answer was not understood",
            ),
        ] {
            let problem = problem(&generic(said));
            assert_eq!(problem, StoreProblem::Away(told.to_owned()));
        }
        let denied = "Error performing list request: Error performing GET https://s3/b in 1s - Server returned non-2xx status \
             code: 403 Forbidden: <Code>AccessDenied</Code>";
        let said = problem(&generic(denied)).to_string();
        assert!(
            said.starts_with("access is denied (AccessDenied);"),
            "{said}"
        );
        let nowhere = "Error performing list request: Error performing GET https://s3/b in 1s - Server returned non-2xx status \
             code: 404 Not Found: <Code>NoSuchBucket</Code>";
        assert_eq!(problem(&generic(nowhere)), StoreProblem::NoBucket);
        let moved = "Error performing GET https://s3/b in 1s - Server returned non-2xx status code: 301 Moved Permanently: ";
        let problem = problem(&generic(moved)).to_string();
        assert!(problem.contains("look at AWS_REGION"), "{problem}");
    }

    #[test]
    fn what_is_not_found_is_a_bucket_only_where_the_store_says_so() {
        let asked = "Error performing PUT http://10.0.0.7:9000/b/tmp/a in 1s";
        let not_found = |code: &str| {
            let answered = "Server returned non-2xx status code: 404 Not Found";
            Error::NotFound {
                path: "tmp/a".to_owned(),
                source: format!("{asked} - {answered}: {code}").into(),
            }
        };
        let bucket = not_found("<Error><Code>NoSuchBucket</Code></Error>");
        assert!(!is_absent(&bucket));
        assert_eq!(problem(&bucket), StoreProblem::NoBucket);
        for code in ["NoSuchKey", "NoSuchUpload"] {
            let gone = not_found(&format!("<Error><Code>{code}</Code></Error>"));
            assert!(is_absent(&gone));
            assert_eq!(problem(&gone), StoreProblem::Gone, "{code}");
        }
        // Of a server that is no such store.
        let page = not_found("<html>");
        assert_eq!(
            problem(&page).to_string(),
            "the store answered 404 Not Found; look at AWS_REGION and AWS_ENDPOINT_URL"
        );
    }

    #[test]
    fn access_is_shown_without_keys() {
        let access = S3Access {
            key_id: Some("AKIASECRET".to_owned()),
            secret_key: Some("secret".to_owned()),
            ..S3Access::default()
        };
        let said = format!("{access:?}").to_lowercase();
        assert!(!said.contains("secret\""), "{said}");
        assert!(!said.contains("akia"), "{said}");
    }
}
