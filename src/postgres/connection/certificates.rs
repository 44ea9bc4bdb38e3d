//! TLS to a PostgreSQL server: which certificates are trusted, and the client's own.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::config::target::{Tls, TlsMode};
use crate::error::{Error, Result};

/// The TLS settings for a driver; `None`: no TLS.
///
/// # Errors
/// [`Error::Usage`] when a file cannot be read or one of certificate and key is missing.
pub(crate) fn client_config(tls: &Tls) -> Result<Option<Arc<ClientConfig>>> {
    let provider = CryptoProvider::get_default()
        .map_or_else(|| Arc::new(rustls::crypto::ring::default_provider()), Arc::clone);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Internal(format!("TLS: {error}")))?;
    let builder = match tls.mode {
        TlsMode::Off => return Ok(None),
        TlsMode::NoVerify => {
            let lenient = Lenient { provider, signed: None };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(lenient))
        }
        TlsMode::Verify => builder.with_root_certificates(roots(tls.ca.as_deref())?),
        TlsMode::VerifyCa => {
            let roots = Arc::new(roots(tls.ca.as_deref())?);
            let signed = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| Error::Usage {
                    message: format!("no certificate of the server can be checked: {error}"),
                    help: "name the CA's certificate with sslrootcert".into(),
                })?;
            let lenient = Lenient { provider, signed: Some(signed) };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(lenient))
        }
    };
    let config = match (&tls.cert, &tls.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key)
                .map_err(|error| unreadable(cert, &error))?
        }
        _ => {
            return Err(Error::Usage {
                message: "a client certificate and its key go together".into(),
                help: "give both files, or neither".into(),
            });
        }
    };
    Ok(Some(Arc::new(config)))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = match ca {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(found);
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Usage {
        message: format!("cannot use the TLS file {}: {error}", path.display()),
        help: "give the path of a PEM file that osc may read".into(),
    }
}

/// Takes what the usual verification would not. Signatures are checked as always.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    /// Who must have signed the certificate, for whatever host (`sslmode=verify-ca`); `None`: any certificate
    /// will do (`ssl-mode=require`).
    signed: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(signed) = &self.signed else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last, when everything else is well.
        match signed.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
