//! Says in plain words why a TLS connection fails, and what to do about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::super::{Misconnected, MisconnectedKind};

/// What to do about a certificate of an authority that this machine doesn't know.
const TRUST: &str = "if you trust this server, write the certificate of the authority that issued its certificate into a PEM \
                     file, and name the file in the variable `SSL_CERT_FILE`";

/// Why connecting to `endpoint` fails for good, or `None` if a retry may help.
pub(super) fn misconnected(error: &io::Error, endpoint: &str) -> Option<Misconnected> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let (kind, reason, hint) = match error {
        Error::InvalidCertificate(error) => {
            let (reason, hint) = certificate(error);
            let hint = match crate::tls::roots_problem() {
                Some(problem) => format!("{problem}; {hint}"),
                None => hint,
            };
            (MisconnectedKind::Certificate, reason, hint)
        }
        // Before the handshake is done, this is the first thing that a server without TLS sends.
        Error::InvalidMessage(_) => (
            MisconnectedKind::NotTls,
            "it doesn't answer in TLS".to_owned(),
            "check the scheme and the port of `[model] base_url`: is it http://?".to_owned(),
        ),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => (
            MisconnectedKind::NotHttp,
            "it refuses HTTP/1.1, the only version that requests use".to_owned(),
            "allow HTTP/1.1 at the server of `[model] base_url`, or put a gateway in front of it".to_owned(),
        ),
        _ => return None,
    };
    Some(Misconnected {
        kind,
        endpoint: endpoint.to_owned(),
        reason,
        hint,
    })
}

fn certificate(error: &CertificateError) -> (String, String) {
    let (reason, hint) = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            "has expired".to_owned(),
            "renew it on the server, or check this machine's clock; no setting of `SSL_CERT_FILE` helps",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "isn't valid yet".to_owned(),
            "check this machine's clock, or wait; no setting of `SSL_CERT_FILE` helps",
        ),
        CertificateError::UnknownIssuer => (
            "was issued by an authority that this machine doesn't trust, or by itself (UnknownIssuer)".to_owned(),
            TRUST,
        ),
        CertificateError::NotValidForNameContext { expected, presented } => (
            format!(
                "is for another host: it names {}, and the host is {}",
                presented.join(", "),
                expected.to_str()
            ),
            "check the host in `[model] base_url`; no setting of `SSL_CERT_FILE` helps",
        ),
        CertificateError::NotValidForName => (
            "is for another host".to_owned(),
            "check the host in `[model] base_url`; no setting of `SSL_CERT_FILE` helps",
        ),
        CertificateError::Revoked => ("was revoked".to_owned(), "renew it on the server"),
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => (
            "is the certificate of an authority, not of a server, as many self-signed ones are (CaUsedAsEndEntity)"
                .to_owned(),
            "give the server a certificate of its own, without `CA:TRUE`, and name the PEM file of the authority that issued \
             it in the variable `SSL_CERT_FILE`",
        ),
        error => (format!("isn't acceptable: {error}"), TRUST),
    };
    (format!("its certificate {reason}"), hint.to_owned())
}
