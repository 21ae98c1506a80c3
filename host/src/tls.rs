//! The process's single TLS configuration: rustls with ring and the system's root certificates. The model client and the
//! sandbox's outgoing HTTP share it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// The variables that replace the system's root certificates.
const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";

/// The shared configuration. Missing root certificates are not an error here: plain HTTP on loopback works without them, and
/// TLS connections then fail with the reason.
pub fn client_config() -> Result<Arc<ClientConfig>, Error> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, Error>> = OnceLock::new();
    CONFIG.get_or_init(config).clone()
}

fn config() -> Result<Arc<ClientConfig>, Error> {
    // The provider is passed explicitly. Installing a process-wide default is the application's choice, not a library's.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(LazyRoots { algorithms }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The number of root certificates.
pub(crate) fn root_count() -> usize {
    roots().store.len()
}

/// Why there are no root certificates, if there are none: the hint of an error about a certificate.
pub(crate) fn roots_problem() -> Option<&'static str> {
    roots().problem.as_deref()
}

/// The root certificates, read at the first handshake, because that takes milliseconds and most commands connect to nothing.
fn roots() -> &'static Roots {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let roots = Roots::load(|name| std::env::var_os(name));
        if let Some(problem) = &roots.problem {
            tracing::warn!("no usable root certificates: {problem}");
        }
        roots
    })
}

/// Verifies servers as rustls itself does, but reads the root certificates only when there is a server to verify.
#[derive(Debug)]
struct LazyRoots {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for LazyRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let roots = &roots().store;
        verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, self.algorithms.all)?;
        verify_server_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

struct Roots {
    store: RootCertStore,
    problem: Option<String>,
}

impl Roots {
    /// The certificates that the variables name, else the system's. An empty variable counts as unset.
    fn load(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (file, folders) = (set(FILE).map(PathBuf::from), set(FOLDERS));
        let named: Vec<PathBuf> = folders.iter().flat_map(std::env::split_paths).collect();
        let is_own = file.is_some() || !named.is_empty();
        let mut certificates = Vec::new();
        if let Some(file) = &file {
            certificates.extend(rustls_native_certs::load_certs_from_paths(Some(file), None).certs);
        }
        for folder in &named {
            certificates.extend(rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs);
        }
        if !is_own {
            certificates = system();
        }
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(certificates);
        let problem = (added == 0).then(|| match (file, named.first()) {
            (Some(file), _) => file_problem(&file),
            (None, Some(folder)) => format!("`{FOLDERS}` names {folder:?}, which holds no certificate in PEM"),
            (None, None) => "this system has no root certificates; install them, or name a PEM file of them in \
                             `SSL_CERT_FILE`"
                .to_owned(),
        });
        Self { store, problem }
    }
}

/// The system's certificates, although a variable is set and empty.
fn system() -> Vec<CertificateDer<'static>> {
    let is_set = [FILE, FOLDERS].iter().any(|name| std::env::var_os(name).is_some());
    if !is_set {
        return rustls_native_certs::load_native_certs().certs;
    }
    let places = openssl_probe::probe();
    let mut certificates = rustls_native_certs::load_certs_from_paths(places.cert_file.as_deref(), None).certs;
    for folder in &places.cert_dir {
        certificates.extend(rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs);
    }
    certificates
}

/// Why a file has no certificate.
fn file_problem(file: &Path) -> String {
    /// Every certificate in DER is a sequence whose length takes two bytes.
    const DER: [u8; 2] = [0x30, 0x82];
    let names = format!("`{FILE}` names {file:?}");
    match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => format!("{names}, which doesn't exist"),
        Err(error) => format!("{names}, which can't be read: {error}"),
        Ok(bytes) if bytes.is_empty() => format!("{names}, which is empty"),
        Ok(bytes) if bytes.starts_with(&DER) => format!(
            "{names}, which is a certificate in DER; convert it to PEM with `openssl x509 -inform der -in FILE -out FILE.pem`"
        ),
        Ok(_) => format!("{names}, which holds no certificate in PEM"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(variables: &[(&str, &Path)]) -> Roots {
        Roots::load(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, path)| path.as_os_str().to_owned())
        })
    }

    #[test]
    fn an_unusable_file_is_named_with_its_variable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots");
        let problem = || load(&[(FILE, &path)]).problem.unwrap();
        assert!(problem().contains("`SSL_CERT_FILE`") && problem().contains("doesn't exist"));
        for (bytes, says) in [
            (&b""[..], "is empty"),
            (b"\x30\x82\x01\x0a", "DER"),
            (b"no certificate", "no certificate in PEM"),
            (
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "no certificate in PEM",
            ),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert!(problem().contains(says), "{}", problem());
        }
        std::fs::remove_file(&path).unwrap();
        let problem = load(&[(FOLDERS, folder.path())]).problem.unwrap();
        assert!(problem.contains("`SSL_CERT_DIR`"), "{problem}");
    }

    #[test]
    fn an_empty_variable_is_unset() {
        let with = load(&[(FILE, Path::new("")), (FOLDERS, Path::new(""))]);
        let without = load(&[]);
        assert_eq!(with.store.roots, without.store.roots);
    }
}
