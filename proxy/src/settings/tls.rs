//! What a file says of TLS: towards a pool's clients, and towards its servers and sentinels.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redstart_common::net::Stream;
use redstart_common::net::tls::{ClientAuth, Files, Material, Peer};

use super::{PoolSettings, values};

/// How clients of a pool are spoken to.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// Certificates and the like.
    pub material: Arc<Material>,
    /// Whether clients have to show certificates.
    pub auth: ClientAuth,
}

/// How servers are spoken to.
#[derive(Debug, Clone)]
pub struct ServerTls {
    material: Arc<Material>,
    /// The name that their certificates have to be for; `None` takes whichever an authority has vouched for.
    name: Option<String>,
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.material, &other.material) && self.name == other.name
    }
}

impl Eq for ServerTls {}

impl ServerTls {
    /// Agrees with the server at the other end.
    ///
    /// # Errors
    /// That they do not agree, or the connection's. This waits for the other end.
    pub async fn agree(&self, stream: Stream) -> io::Result<Stream> {
        let peer = self.name.as_deref().map_or(Peer::Trusted, Peer::Named);
        let layer = self.material.connected(peer).map_err(io::Error::other)?;
        let mut stream = stream.under(layer);
        stream.handshake().await?;
        Ok(stream)
    }
}

/// What a section says, before it is put together.
#[derive(Debug, Default)]
pub(super) struct TlsKeys {
    cert: Option<String>,
    key: Option<String>,
    ca: Option<String>,
    auth: Option<ClientAuth>,
    to_servers: bool,
    to_sentinels: bool,
    server_ca: Option<String>,
    server_cert: Option<String>,
    server_key: Option<String>,
    server_name: Option<String>,
}

/// The words of `tls_auth_clients`.
const AUTH: [(&str, ClientAuth); 3] =
    [("no", ClientAuth::No), ("optional", ClientAuth::Optional), ("yes", ClientAuth::Required)];

/// A key that is wrong, and what is wrong with it.
type Wrong = (&'static str, String);

impl TlsKeys {
    /// Takes a key in, if it is about TLS.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, String> {
        let text_of = || Some(text.to_owned());
        match key {
            "tls_cert" => self.cert = text_of(),
            "tls_key" => self.key = text_of(),
            "tls_ca" => self.ca = text_of(),
            "tls_auth_clients" => {
                let named = values::named(text, &AUTH);
                self.auth = Some(named.ok_or("is not no, optional or yes")?);
            }
            "server_tls" => self.to_servers = values::switch(text)?,
            "sentinel_tls" => self.to_sentinels = values::switch(text)?,
            "server_tls_ca" => self.server_ca = text_of(),
            "server_tls_cert" => self.server_cert = text_of(),
            "server_tls_key" => self.server_key = text_of(),
            "server_tls_name" => self.server_name = text_of(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Puts the keys together, and reads the files that they name.
    pub(super) fn finish(self, pool: &mut PoolSettings) -> Result<(), Wrong> {
        pool.client_tls = self.of_clients()?;
        let of_servers = self.of_servers(pool.sentinel.is_some())?;
        if let Some(sentinel) = pool.sentinel.as_mut().filter(|_| self.to_sentinels) {
            sentinel.tls.clone_from(&of_servers);
        }
        pool.server_tls = of_servers.filter(|_| self.to_servers);
        Ok(())
    }

    fn of_clients(&self) -> Result<Option<ClientTls>, Wrong> {
        let auth = self.auth.unwrap_or(ClientAuth::No);
        let (cert, key) = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => (cert, key),
            (Some(_), None) => return Err(("tls_cert", "needs 'tls_key'".to_owned())),
            (None, Some(_)) => return Err(("tls_key", "needs 'tls_cert'".to_owned())),
            (None, None) if self.ca.is_some() => {
                return Err(("tls_ca", "needs 'tls_cert'".to_owned()));
            }
            (None, None) if self.auth.is_some() => {
                return Err(("tls_auth_clients", "needs 'tls_cert'".to_owned()));
            }
            (None, None) => return Ok(None),
        };
        match (&self.ca, auth) {
            (None, ClientAuth::Optional | ClientAuth::Required) => {
                return Err(("tls_auth_clients", "needs 'tls_ca'".to_owned()));
            }
            (Some(_), ClientAuth::No) => {
                let problem = "goes with 'tls_auth_clients: yes' or 'optional' only";
                return Err(("tls_ca", problem.to_owned()));
            }
            _ => {}
        }
        let (ca, ca_folder) = file_or_folder(self.ca.as_deref());
        let files = Files { cert, key, ca, ca_folder, ..Files::default() };
        let material = Material::load(&files);
        let material =
            material.map_err(|error| ("tls_cert", format!("cannot be used: {error}")))?;
        Ok(Some(ClientTls { material: Arc::new(material), auth }))
    }

    fn of_servers(&self, has_sentinels: bool) -> Result<Option<ServerTls>, Wrong> {
        if self.to_sentinels && !has_sentinels {
            return Err(("sentinel_tls", "needs 'sentinels'".to_owned()));
        }
        if !self.to_servers && !self.to_sentinels {
            let given = [
                ("server_tls_ca", &self.server_ca),
                ("server_tls_cert", &self.server_cert),
                ("server_tls_key", &self.server_key),
                ("server_tls_name", &self.server_name),
            ];
            return match given.iter().find(|(_, value)| value.is_some()) {
                Some((key, _)) => Err((key, "needs 'server_tls: true'".to_owned())),
                None => Ok(None),
            };
        }
        let Some(ca) = self.server_ca.as_deref() else {
            let key = if self.to_servers { "server_tls" } else { "sentinel_tls" };
            return Err((key, "needs 'server_tls_ca'".to_owned()));
        };
        match (&self.server_cert, &self.server_key) {
            (Some(_), None) => {
                return Err(("server_tls_cert", "needs 'server_tls_key'".to_owned()));
            }
            (None, Some(_)) => {
                return Err(("server_tls_key", "needs 'server_tls_cert'".to_owned()));
            }
            _ => {}
        }
        let (ca, ca_folder) = file_or_folder(Some(ca));
        let files = Files {
            client_cert: self.server_cert.as_deref().unwrap_or_default(),
            client_key: self.server_key.as_deref().unwrap_or_default(),
            ca,
            ca_folder,
            ..Files::default()
        };
        let material = Material::load(&files)
            .map_err(|error| ("server_tls_ca", format!("cannot be used: {error}")))?;
        let tls = ServerTls { material: Arc::new(material), name: self.server_name.clone() };
        if let Some(name) = &tls.name {
            let tried = tls.material.connected(Peer::Named(name));
            tried.map_err(|error| ("server_tls_name", format!("cannot be used: {error}")))?;
        }
        Ok(Some(tls))
    }
}

/// A path as that of a file or of a folder.
fn file_or_folder(path: Option<&str>) -> (&str, &str) {
    match path {
        Some(path) if Path::new(path).is_dir() => ("", path),
        Some(path) => (path, ""),
        None => ("", ""),
    }
}
