//! The process's single TLS configuration: rustls with ring and the system's root certificates. The model client and the
//! sandbox's outgoing HTTP share it.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

/// The shared configuration, built on first use because reading the system's roots takes milliseconds. Missing root
/// certificates are not an error here: plain HTTP on loopback works without them, and TLS connections then fail with the
/// reason.
pub fn client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, rustls::Error>> = OnceLock::new();
    CONFIG.get_or_init(build).clone()
}

fn build() -> Result<Arc<ClientConfig>, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(errors = ?found.errors, ignored, "no usable root certificates on this system: TLS will fail");
    }
    // The provider is passed explicitly. Installing a process-wide default is the application's choice, not a library's.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
