//! Object stores of the clouds and of whoever speaks as they do, with the credentials that their own tools would use.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::address::refused;
use super::place::PlaceOptions;
use super::profile::{self, Profile};
use super::wire::{check_endpoint, check_values};
use crate::error::Result;
use crate::fs::variable;

type Store = Arc<dyn ObjectStore>;

/// What a request is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Asking,
    Sending,
}

/// The store behind a URL, the same for requests that take as long as what they send, and where in it. No request is made.
pub(super) fn open(given: &str, url: &Url, options: &PlaceOptions) -> Result<(Store, Store, Path)> {
    let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|e| refused(given, e.to_string()))?;
    // TLS needs to know whose cryptography; another part of the program may have said so already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let profile = match scheme {
        ObjectStoreScheme::AmazonS3 => profile::read()?,
        _ => Profile::default(),
    };
    let build = |way| -> Result<Store> {
        let store: Result<Store, object_store::Error> = match scheme {
            ObjectStoreScheme::AmazonS3 => {
                s3(url, options, profile.clone(), way)?.build().map(|store| Arc::new(store) as _)
            }
            ObjectStoreScheme::MicrosoftAzure => azure(url, options, way)?.build().map(|store| Arc::new(store) as _),
            ObjectStoreScheme::GoogleCloudStorage => gcp(url, options, way)?.build().map(|store| Arc::new(store) as _),
            _ => return Err(refused(given, "is of no kind that is known".into())),
        };
        store.map_err(|e| refused(given, e.to_string()))
    };
    Ok((build(Way::Asking)?, build(Way::Sending)?, prefix))
}

fn s3(url: &Url, options: &PlaceOptions, profile: Profile, way: Way) -> Result<AmazonS3Builder> {
    let mut builder = AmazonS3Builder::from_env()
        .with_url(url.as_str())
        .with_virtual_hosted_style_request(options.virtual_hosted)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // The server refuses bytes that were changed on the way.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_retry(retry(options))
        .with_client_options(client(options, way));
    if let Some((id, secret, token)) = profile.keys {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        builder = match token {
            Some(token) => builder.with_token(token),
            None => builder,
        };
    }
    let in_environment = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().any(|name| variable(name).is_some());
    if let Some(region) = options.region.clone().or(profile.region.filter(|_| !in_environment)) {
        builder = builder.with_region(region);
    }
    // The environment comes before the profile.
    let get = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
    let in_environment = get(AmazonS3ConfigKey::S3Endpoint).or_else(|| get(AmazonS3ConfigKey::Endpoint));
    check_values(&[
        ("AWS_ACCESS_KEY_ID", get(AmazonS3ConfigKey::AccessKeyId)),
        ("AWS_SECRET_ACCESS_KEY", get(AmazonS3ConfigKey::SecretAccessKey)),
        ("AWS_SESSION_TOKEN", get(AmazonS3ConfigKey::Token)),
        ("AWS_REGION or --region", get(AmazonS3ConfigKey::Region)),
    ])?;
    if let Some(endpoint) = options.endpoint.clone().or(in_environment).or(profile.endpoint) {
        check_endpoint(&endpoint)?;
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(&endpoint);
        // It would come before the other.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    Ok(builder)
}

fn azure(url: &Url, options: &PlaceOptions, way: Way) -> Result<MicrosoftAzureBuilder> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_url(url.as_str())
        .with_retry(retry(options))
        .with_client_options(client(options, way));
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let get = |key: AzureConfigKey| builder.get_config_value(&key);
    get(AzureConfigKey::Endpoint).as_deref().map_or(Ok(()), check_endpoint)?;
    check_values(&[
        ("AZURE_STORAGE_ACCOUNT_NAME", get(AzureConfigKey::AccountName)),
        ("AZURE_STORAGE_ACCOUNT_KEY", get(AzureConfigKey::AccessKey)),
        ("AZURE_STORAGE_SAS_TOKEN", get(AzureConfigKey::SasKey)),
        ("AZURE_STORAGE_TOKEN", get(AzureConfigKey::Token)),
    ])?;
    Ok(builder)
}

fn gcp(url: &Url, options: &PlaceOptions, way: Way) -> Result<GoogleCloudStorageBuilder> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    let get = |key: GoogleConfigKey| builder.get_config_value(&key);
    get(GoogleConfigKey::BaseUrl).as_deref().map_or(Ok(()), check_endpoint)?;
    check_values(&[("GOOGLE_BEARER_TOKEN", get(GoogleConfigKey::BearerToken))])?;
    Ok(builder.with_retry(retry(options)).with_client_options(client(options, way)))
}

fn client(options: &PlaceOptions, way: Way) -> ClientOptions {
    let plain = options.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new().with_allow_http(plain);
    match way {
        // A large object may take hours, as long as something comes.
        Way::Asking => client.with_timeout_disabled().with_read_timeout(options.timeout),
        Way::Sending => client.with_timeout(options.timeout * 10),
    }
}

fn retry(options: &PlaceOptions) -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(15),
        ..BackoffConfig::default()
    };
    RetryConfig { backoff, max_retries: 100, retry_timeout: options.retry }
}
