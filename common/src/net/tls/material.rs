//! What files and settings say of TLS, read and tried: certificates, keys, authorities, versions and suites.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, InconsistentKeys, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};
use thiserror::Error as ThisError;

use super::sessions::Store;
use super::verify::{Clients, Trust, Trusting};
use super::{Tls, suites};
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
    /// The password that the key is locked by, if it is.
    pub key_password: &'a str,
    /// Another certificate to show as a client.
    pub client_cert: &'a str,
    /// Its key.
    pub client_key: &'a str,
    /// The password of that.
    pub client_key_password: &'a str,
    /// Authorities that are trusted, in PEM.
    pub ca: &'a str,
    /// A folder of them.
    pub ca_folder: &'a str,
    /// Versions, as in `TLSv1.2 TLSv1.3`.
    pub protocols: &'a str,
    /// Suites of TLS 1.2, as a list of OpenSSL's.
    pub ciphers: &'a str,
    /// Suites of TLS 1.3 by their names, with colons between.
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
    /// A key is locked by a password, in a way that is not supported.
    #[error(
        "the private key in {0} is encrypted in OpenSSL's old way: have it in PKCS#8, as by \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
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
        let own = pair(&provider, files.cert, files.key, files.key_password)?;
        let Files { client_cert, client_key, client_key_password, .. } = *files;
        let shown = match pair(&provider, client_cert, client_key, client_key_password)? {
            Some(shown) => Some(shown),
            None => own.clone(),
        };
        let authorities = authorities(files.ca, files.ca_folder)?;
        let mut roots = RootCertStore::empty();
        for cert in &authorities {
            roots.add(cert.clone()).map_err(|error| {
                let path = if files.ca.is_empty() { files.ca_folder } else { files.ca };
                unreadable(AUTHORITIES, Path::new(path), error)
            })?;
        }
        let roots = Arc::new(roots);
        let algorithms = provider.signature_verification_algorithms;
        let trust = Arc::new(Trust { roots: Arc::clone(&roots), authorities, algorithms });
        let mut servers = [None, None, None];
        if let Some(own) = own {
            for auth in [ClientAuth::No, ClientAuth::Optional, ClientAuth::Required] {
                if auth == ClientAuth::No || !roots.is_empty() {
                    let config = server(&provider, &versions, &own, auth, &trust, files)?;
                    servers[auth as usize] = Some(Arc::new(config));
                }
            }
        }
        let trusting = Arc::new(Trusting(trust));
        let naming: Arc<dyn ServerCertVerifier> = match roots.is_empty() {
            true => Arc::<Trusting>::clone(&trusting),
            false => WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(other)?,
        };
        let trusting = client(&provider, &versions, trusting, shown.as_ref())?;
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

fn provider(ciphers: &str, new_suites: &str) -> Result<CryptoProvider, Error> {
    let mut provider = rustls::crypto::ring::default_provider();
    let (new, old): (Vec<_>, Vec<_>) =
        provider.cipher_suites.iter().copied().partition(|suite| suite.tls13().is_some());
    provider.cipher_suites = suites::named(new_suites, new)?;
    provider.cipher_suites.extend(suites::listed(ciphers, old)?);
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

fn private_key(path: &Path, password: &str) -> Result<PrivateKeyDer<'static>, Error> {
    const WHAT: &str = "a private key";
    let text = std::fs::read(path).map_err(|error| unreadable(WHAT, path, error))?;
    let has = |word: &str| memchr::memmem::find(&text, word.as_bytes()).is_some();
    if has("Proc-Type: 4,ENCRYPTED") {
        return Err(Error::Encrypted(path.to_owned()));
    }
    if has("BEGIN ENCRYPTED PRIVATE KEY") {
        let unlocked = unlock(&text, password).map_err(|error| unreadable(WHAT, path, error))?;
        return Ok(PrivatePkcs8KeyDer::from(unlocked.as_bytes().to_vec()).into());
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| unreadable(WHAT, path, error))
}

/// A key in PEM that is locked by a password, without it.
fn unlock(text: &[u8], password: &str) -> Result<SecretDocument, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let start = text.find("-----BEGIN ENCRYPTED").unwrap_or_default();
    let (_, locked) =
        SecretDocument::from_pem(&text[start..]).map_err(|error| error.to_string())?;
    let locked = EncryptedPrivateKeyInfoRef::try_from(locked.as_bytes())
        .map_err(|error| error.to_string())?;
    if password.is_empty() {
        return Err("it is locked by a password, and none is given".to_owned());
    }
    locked.decrypt(password).map_err(|error| format!("it cannot be unlocked: {error}"))
}

/// A certificate and its key; `None` where none is named.
fn pair(
    provider: &CryptoProvider,
    cert: &str,
    key: &str,
    password: &str,
) -> Result<Option<Arc<CertifiedKey>>, Error> {
    if cert.is_empty() || key.is_empty() {
        return Ok(None);
    }
    let (cert, key) = (Path::new(cert), Path::new(key));
    let chain = certificates("a certificate", cert)?;
    let signing = provider
        .key_provider
        .load_private_key(private_key(key, password)?)
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

const AUTHORITIES: &str = "authorities (CA)";

/// Everybody who is trusted to vouch for others.
fn authorities(file: &str, folder: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut roots = Vec::new();
    let mut add = |path: &Path| {
        roots.extend(certificates(AUTHORITIES, path)?);
        Ok::<(), Error>(())
    };
    if !file.is_empty() {
        add(Path::new(file))?;
    }
    if !folder.is_empty() {
        let path = Path::new(folder);
        let entries =
            std::fs::read_dir(path).map_err(|error| unreadable(AUTHORITIES, path, error))?;
        let mut found = 0;
        for entry in entries.flatten() {
            // A folder of authorities may hold other things.
            if entry.path().is_file() && add(&entry.path()).is_ok() {
                found += 1;
            }
        }
        if found == 0 && file.is_empty() {
            return Err(unreadable(AUTHORITIES, path, "no file in it holds a certificate in PEM"));
        }
    }
    Ok(roots)
}

fn server(
    provider: &Arc<CryptoProvider>,
    versions: &Versions,
    own: &Arc<CertifiedKey>,
    auth: ClientAuth,
    trust: &Arc<Trust>,
    files: &Files<'_>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(other)?;
    let builder = if auth == ClientAuth::No {
        builder.with_no_client_auth()
    } else {
        let roots = Arc::clone(&trust.roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let verifier = match auth {
            ClientAuth::Optional => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        let known = verifier.build().map_err(other)?;
        builder.with_client_cert_verifier(Arc::new(Clients { known, trust: Arc::clone(trust) }))
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
