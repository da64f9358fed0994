//! What files and settings say of TLS, read and tried: certificates, keys, authorities, versions and suites.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, InconsistentKeys, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use thiserror::Error as ThisError;

use super::Tls;
use super::sessions::Store;
use crate::net::Layer;

/// Whether a server asks its clients for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It does not.
    No,
    /// One that is shown has to be good.
    Optional,
    /// Without a good one a client is refused.
    Required,
}

/// Whom a client takes its server for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer<'a> {
    /// Whoever has a certificate of an authority that is trusted, as between servers of Redis.
    Trusted,
    /// Its certificate has to be for this name or address, too.
    Named(&'a str),
}

/// Which sessions clients may go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// How many are kept; 0 is no bound.
    pub most: usize,
    /// For how long.
    pub lifetime: Duration,
}

/// What the settings name. An empty text names nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files<'a> {
    /// The certificate, in PEM, with those that vouch for it behind it.
    pub cert: &'a str,
    /// Its key, in PEM.
    pub key: &'a str,
    /// Another certificate to show as a client.
    pub client_cert: &'a str,
    /// Its key.
    pub client_key: &'a str,
    /// Authorities that are trusted, in PEM.
    pub ca: &'a str,
    /// A folder of them.
    pub ca_folder: &'a str,
    /// Versions, as in `TLSv1.2 TLSv1.3`.
    pub protocols: &'a str,
    /// Suites of TLS 1.2 by OpenSSL's names, with colons between.
    pub ciphers: &'a str,
    /// Suites of TLS 1.3, likewise.
    pub suites: &'a str,
    /// Whether the server's order of suites counts, not the client's.
    pub prefers_own_suites: bool,
    /// Sessions that are kept, if any.
    pub sessions: Option<Sessions>,
}

/// Why TLS cannot be had as it is asked for.
#[derive(Debug, ThisError)]
pub enum Error {
    /// A file cannot be read, or holds none of what is looked for.
    #[error("{what} cannot be read from {path}: {reason}")]
    File {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A key is locked by a password.
    #[error(
        "the private key in {0} is encrypted, which is not supported: store it without a password"
    )]
    Encrypted(PathBuf),
    /// A version that there is not.
    #[error("'{0}' is no version of TLS that is supported: TLSv1.2 and TLSv1.3 are")]
    Version(String),
    /// A suite that there is not.
    #[error("'{0}' is no cipher suite that is supported: {1} are")]
    Suite(String, String),
    /// The certificate and the key are not a pair.
    #[error("the private key {key} does not belong to the certificate {cert}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// A name that a certificate cannot be for.
    #[error("'{0}' is no name of a server")]
    Name(String),
    /// Certificates of clients are asked for, and nobody is trusted to vouch for them.
    #[error("certificates of clients cannot be checked without an authority (CA)")]
    NoAuthority,
    /// There is no certificate to show.
    #[error("there is no certificate to serve with")]
    NoCertificate,
    /// What rustls says.
    #[error("{0}")]
    Other(String),
}

fn other(error: impl std::fmt::Display) -> Error {
    Error::Other(error.to_string())
}

/// Everything that connections need, read and ready.
#[derive(Debug)]
pub struct Material {
    /// By what is asked of clients: nothing, a good certificate or none, a good one.
    servers: [Option<Arc<ServerConfig>>; 3],
    trusting: Arc<ClientConfig>,
    naming: Arc<ClientConfig>,
}

impl Material {
    /// Reads and tries all of it.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn load(files: &Files<'_>) -> Result<Self, Error> {
        let versions = versions(files.protocols)?;
        let provider = Arc::new(provider(files.ciphers, files.suites)?);
        let own = pair(&provider, files.cert, files.key)?;
        let shown = match pair(&provider, files.client_cert, files.client_key)? {
            Some(shown) => Some(shown),
            None => own.clone(),
        };
        let roots = Arc::new(authorities(files.ca, files.ca_folder)?);
        let mut servers = [None, None, None];
        if let Some(own) = own {
            for auth in [ClientAuth::No, ClientAuth::Optional, ClientAuth::Required] {
                if auth == ClientAuth::No || !roots.is_empty() {
                    let config = server(&provider, &versions, &own, auth, &roots, files)?;
                    servers[auth as usize] = Some(Arc::new(config));
                }
            }
        }
        let trusting = Trusting {
            roots: Arc::clone(&roots),
            algorithms: provider.signature_verification_algorithms,
        };
        let trusting = client(&provider, &versions, Arc::new(trusting), shown.as_ref())?;
        let naming: Arc<dyn ServerCertVerifier> = match roots.is_empty() {
            true => Arc::new(Trusting {
                roots: Arc::clone(&roots),
                algorithms: provider.signature_verification_algorithms,
            }),
            false => WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(other)?,
        };
        let naming = client(&provider, &versions, naming, shown.as_ref())?;
        Ok(Self { servers, trusting: Arc::new(trusting), naming: Arc::new(naming) })
    }

    /// The layer of a connection that was accepted.
    ///
    /// # Errors
    /// When there is no certificate, or nobody to check the client's by.
    pub fn accepted(&self, auth: ClientAuth) -> Result<Box<dyn Layer>, Error> {
        let config = match &self.servers[auth as usize] {
            Some(config) => Arc::clone(config),
            None if self.servers[0].is_some() => return Err(Error::NoAuthority),
            None => return Err(Error::NoCertificate),
        };
        let connection = ServerConnection::new(config).map_err(other)?;
        Ok(Box::new(Tls::new(connection.into())))
    }

    /// The layer of a connection that was made. `told` is the name by which the server is asked for, if it is one.
    ///
    /// # Errors
    /// When the name is none.
    pub fn connected(&self, peer: Peer<'_>) -> Result<Box<dyn Layer>, Error> {
        let (config, name) = match peer {
            // A name has to be there; nothing is told of an address.
            Peer::Trusted => (&self.trusting, ServerName::IpAddress(Ipv4Addr::LOCALHOST.into())),
            Peer::Named(name) => {
                let known = ServerName::try_from(name.to_owned());
                (&self.naming, known.map_err(|_| Error::Name(name.to_owned()))?)
            }
        };
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(other)?;
        Ok(Box::new(Tls::new(connection.into())))
    }
}

type Versions = Vec<&'static SupportedProtocolVersion>;

fn versions(text: &str) -> Result<Versions, Error> {
    let mut found = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        found.push(match word.to_ascii_lowercase().as_str() {
            "tlsv1.2" => &rustls::version::TLS12,
            "tlsv1.3" => &rustls::version::TLS13,
            _ => return Err(Error::Version(word.to_owned())),
        });
    }
    Ok(if found.is_empty() { rustls::ALL_VERSIONS.to_vec() } else { found })
}

/// OpenSSL's names of the suites of TLS 1.2 that there are.
const NAMES: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// What a suite is called in a configuration.
fn name_of(suite: &SupportedCipherSuite) -> &'static str {
    let name = suite.suite().as_str().unwrap_or_default();
    if let Some((short, _)) = NAMES.iter().find(|(_, long)| *long == name) {
        return short;
    }
    // OpenSSL calls those of TLS 1.3 what the standard calls them.
    match name {
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        other => other,
    }
}

/// The suites that a list names, in its order; all of them where it is empty.
fn chosen(
    list: &str,
    known: Vec<SupportedCipherSuite>,
) -> Result<Vec<SupportedCipherSuite>, Error> {
    let mut found = Vec::new();
    for word in list.split(':').filter(|word| !word.is_empty()) {
        match known.iter().find(|suite| name_of(suite).eq_ignore_ascii_case(word)) {
            Some(suite) => found.push(*suite),
            None => {
                let names: Vec<&str> = known.iter().map(name_of).collect();
                return Err(Error::Suite(word.to_owned(), names.join(", ")));
            }
        }
    }
    Ok(if found.is_empty() { known } else { found })
}

fn provider(ciphers: &str, suites: &str) -> Result<CryptoProvider, Error> {
    let mut provider = rustls::crypto::ring::default_provider();
    let (new, old): (Vec<_>, Vec<_>) =
        provider.cipher_suites.iter().copied().partition(|suite| suite.tls13().is_some());
    provider.cipher_suites = chosen(suites, new)?;
    provider.cipher_suites.extend(chosen(ciphers, old)?);
    Ok(provider)
}

fn unreadable(what: &'static str, path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::File { what, path: path.to_owned(), reason: reason.to_string() }
}

/// The certificates in a file.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = std::fs::read(path).map_err(|error| unreadable(what, path, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| unreadable(what, path, error))?;
    if found.is_empty() {
        return Err(unreadable(what, path, "it holds no certificate in PEM"));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    const WHAT: &str = "a private key";
    let text = std::fs::read(path).map_err(|error| unreadable(WHAT, path, error))?;
    let has = |word: &str| memchr::memmem::find(&text, word.as_bytes()).is_some();
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(Error::Encrypted(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| unreadable(WHAT, path, error))
}

/// A certificate and its key; `None` where none is named.
fn pair(
    provider: &CryptoProvider,
    cert: &str,
    key: &str,
) -> Result<Option<Arc<CertifiedKey>>, Error> {
    if cert.is_empty() || key.is_empty() {
        return Ok(None);
    }
    let (cert, key) = (Path::new(cert), Path::new(key));
    let chain = certificates("a certificate", cert)?;
    let signing = provider
        .key_provider
        .load_private_key(private_key(key)?)
        .map_err(|error| unreadable("a private key", key, error))?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(Error::Mismatch { cert: cert.to_owned(), key: key.to_owned() })
        }
        // A certificate of version 1 cannot be compared, but it can be shown.
        _ => Ok(Some(Arc::new(pair))),
    }
}

/// Everybody who is trusted to vouch for others.
fn authorities(file: &str, folder: &str) -> Result<RootCertStore, Error> {
    const WHAT: &str = "authorities (CA)";
    let mut roots = RootCertStore::empty();
    let mut add = |path: &Path| {
        for cert in certificates(WHAT, path)? {
            roots.add(cert).map_err(|error| unreadable(WHAT, path, error))?;
        }
        Ok(())
    };
    if !file.is_empty() {
        add(Path::new(file))?;
    }
    if !folder.is_empty() {
        let path = Path::new(folder);
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(WHAT, path, error))?;
        let mut found = 0;
        for entry in entries.flatten() {
            // A folder of authorities may hold other things.
            if entry.path().is_file() && add(&entry.path()).is_ok() {
                found += 1;
            }
        }
        if found == 0 && file.is_empty() {
            return Err(unreadable(WHAT, path, "no file in it holds a certificate in PEM"));
        }
    }
    Ok(roots)
}

fn server(
    provider: &Arc<CryptoProvider>,
    versions: &Versions,
    own: &Arc<CertifiedKey>,
    auth: ClientAuth,
    roots: &Arc<RootCertStore>,
    files: &Files<'_>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(other)?;
    let builder = if auth == ClientAuth::No {
        builder.with_no_client_auth()
    } else {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        let verifier = match auth {
            ClientAuth::Optional => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        builder.with_client_cert_verifier(verifier.build().map_err(other)?)
    };
    let resolver = SingleCertAndKey::from(CertifiedKey::clone(own));
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.ignore_client_order = files.prefers_own_suites;
    match files.sessions {
        Some(sessions) => {
            config.session_storage = Arc::new(Store::new(sessions.most, sessions.lifetime));
        }
        None => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
    }
    Ok(config)
}

fn client(
    provider: &Arc<CryptoProvider>,
    versions: &Versions,
    verifier: Arc<dyn ServerCertVerifier>,
    shown: Option<&Arc<CertifiedKey>>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match shown {
        Some(shown) => {
            let resolver = SingleCertAndKey::from(CertifiedKey::clone(shown));
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
        None => builder.with_no_client_auth(),
    };
    // Servers know each other by their certificates, not by names.
    config.enable_sni = true;
    Ok(config)
}

/// Takes whoever has a certificate of a trusted authority, whatever name it is for: the way of Redis between servers.
#[derive(Debug)]
struct Trusting {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &cert,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
