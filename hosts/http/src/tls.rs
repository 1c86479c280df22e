//! How a client knows a server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use orchestra_core::runtime::Duplex;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use tokio_rustls::client::TlsStream;

use crate::pki::{Issued, PkiError, roots};

/// Whom a client believes, and what it proves itself with.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls(pub(crate) Arc<ClientConfig>);

impl ClientTls {
    /// A client that believes the servers of an authority, and has a certificate or none.
    pub(crate) fn new(authority: &str, identity: Option<&Issued>) -> Result<Self, PkiError> {
        Self::of(builder()?.with_root_certificates(roots(authority)?), identity)
    }

    /// A client that believes whom a verifier believes, and has a certificate or none.
    pub(crate) fn verifying(
        verifier: Arc<dyn ServerCertVerifier>,
        identity: Option<&Issued>,
    ) -> Result<Self, PkiError> {
        Self::of(builder()?.dangerous().with_custom_certificate_verifier(verifier), identity)
    }

    fn of(
        builder: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
        identity: Option<&Issued>,
    ) -> Result<Self, PkiError> {
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                builder.with_client_auth_cert(chain, key).map_err(|error| PkiError::Tls(error.into()))?
            }
        };
        Ok(Self::over(config))
    }

    /// A client that believes anyone: for what proves itself by its hash, and for nothing secret.
    pub(crate) fn credulous() -> Result<Self, PkiError> {
        let verifier = Arc::new(Credulous(Arc::new(aws_lc_rs::default_provider())));
        let config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok(Self::over(config))
    }

    /// The same with a certificate: for whom an administrator says so of a server.
    pub(crate) fn credulous_with(identity: &Issued) -> Result<Self, PkiError> {
        Self::verifying(Arc::new(Credulous(Arc::new(aws_lc_rs::default_provider()))), Some(identity))
    }

    /// The same for those who speak HTTP/1.1 alone.
    pub(crate) fn of_http1(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn over(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, PkiError> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| PkiError::Tls(error.into()))
}

/// Believes every certificate, but not that anyone holds its key who does not.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS connection that tells the pool which version of HTTP was agreed on.
pub(crate) struct TlsPipe {
    stream: TokioIo<Box<dyn Duplex>>,
    speaks_http2: bool,
}

impl TlsPipe {
    pub(crate) fn new<S: Duplex + 'static>(stream: TlsStream<S>) -> Self {
        let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Self { stream: TokioIo::new(Box::new(stream)), speaks_http2 }
    }
}

impl Connection for TlsPipe {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.speaks_http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for TlsPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for TlsPipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
