//! Settings of TLS, and what they name, read from its files.

use std::sync::Arc;
use std::time::Duration;

use redstart_common::net::tls::{ClientAuth, Error, Files, Material, Sessions};

/// The words of `tls-auth-clients`.
pub const AUTH: [(&str, ClientAuth); 3] =
    [("no", ClientAuth::No), ("yes", ClientAuth::Required), ("optional", ClientAuth::Optional)];

/// The settings, each by redis.conf's name behind `tls-`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the rows of the settings say what each is")]
pub struct Tls {
    pub port: u16,
    pub cluster: bool,
    pub replication: bool,
    pub auth_clients: ClientAuth,
    pub cert_file: String,
    pub key_file: String,
    pub key_file_pass: String,
    pub client_cert_file: String,
    pub client_key_file: String,
    pub client_key_file_pass: String,
    pub ca_cert_file: String,
    pub ca_cert_dir: String,
    pub protocols: String,
    pub ciphers: String,
    pub ciphersuites: String,
    pub prefer_server_ciphers: bool,
    pub session_caching: bool,
    pub session_cache_size: usize,
    pub session_cache_timeout: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            port: 0,
            cluster: false,
            replication: false,
            auth_clients: ClientAuth::Required,
            cert_file: String::new(),
            key_file: String::new(),
            key_file_pass: String::new(),
            client_cert_file: String::new(),
            client_key_file: String::new(),
            client_key_file_pass: String::new(),
            ca_cert_file: String::new(),
            ca_cert_dir: String::new(),
            protocols: String::new(),
            ciphers: String::new(),
            ciphersuites: String::new(),
            prefer_server_ciphers: false,
            session_caching: true,
            session_cache_size: 20_480,
            session_cache_timeout: 300,
        }
    }
}

impl Tls {
    /// Whether anything goes by TLS.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.port != 0 || self.replication || self.cluster
    }

    /// Reads the files and tries what they hold.
    ///
    /// # Errors
    /// The line for the log that says what is wrong first, in Redis's words where Redis has them.
    pub fn load(&self) -> Result<Arc<Material>, String> {
        if self.cert_file.is_empty() {
            return Err("No tls-cert-file configured!".to_owned());
        }
        if self.key_file.is_empty() {
            return Err("No tls-key-file configured!".to_owned());
        }
        let needs_authority =
            self.auth_clients != ClientAuth::No || self.replication || self.cluster;
        if needs_authority && self.ca_cert_file.is_empty() && self.ca_cert_dir.is_empty() {
            return Err("Either tls-ca-cert-file or tls-ca-cert-dir must be specified when \
                        tls-cluster, tls-replication or tls-auth-clients are enabled!"
                .to_owned());
        }
        let files = Files {
            cert: &self.cert_file,
            key: &self.key_file,
            key_password: &self.key_file_pass,
            client_cert: &self.client_cert_file,
            client_key: &self.client_key_file,
            client_key_password: &self.client_key_file_pass,
            ca: &self.ca_cert_file,
            ca_folder: &self.ca_cert_dir,
            protocols: &self.protocols,
            ciphers: &self.ciphers,
            suites: &self.ciphersuites,
            prefers_own_suites: self.prefer_server_ciphers,
            sessions: self.session_caching.then_some(Sessions {
                most: self.session_cache_size,
                lifetime: Duration::from_secs(self.session_cache_timeout),
            }),
        };
        Material::load(&files).map(Arc::new).map_err(|error| match &error {
            Error::File { what: "a certificate", path, reason } => {
                format!("Failed to load certificate: {}: {reason}", path.display())
            }
            Error::File { what: "a private key", path, reason } => {
                format!("Failed to load private key: {}: {reason}", path.display())
            }
            Error::Encrypted(path) | Error::Mismatch { key: path, .. } => {
                format!("Failed to load private key: {}: {error}", path.display())
            }
            Error::File { reason, path, .. } => format!(
                "Failed to configure CA certificate(s) file/directory: {}: {reason}",
                path.display()
            ),
            Error::Suite(..) => format!("Failed to configure ciphers: {error}"),
            Error::Version(_) => format!("Invalid tls-protocols specified: {error}"),
            _ => format!("TLS cannot be configured: {error}"),
        })
    }
}
