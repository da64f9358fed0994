//! Who is taken for good, by the certificate that they show.
//!
//! rustls reads certificates of version 3 only. `openssl x509 -req` without extensions, as many recipes and Redis's own
//! `gen-test-certs.sh` have it, makes such of version 1: these are looked at here. A certificate of version 1 says nothing of what it
//! is for; that an authority which is trusted has signed it, and that it is its time, is all that can be asked of it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use webpki::RawPublicKeyEntity;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_PKCS1_SHA1WITHRSA;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

/// Authorities that are trusted.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) roots: Arc<RootCertStore>,
    /// The same, whole.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// A certificate, if it is of version 1.
fn of_version_1<'c>(cert: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    let (rest, cert) = X509Certificate::from_der(cert).ok()?;
    (rest.is_empty() && cert.version() == X509Version::V1).then_some(cert)
}

impl Trust {
    /// Whether an authority that is trusted has signed a certificate of version 1, and it is its time. Those between the two cannot be
    /// looked at, for one of version 1 may be anybody's.
    fn vouches_for(&self, cert: &X509Certificate<'_>, now: UnixTime) -> Result<(), Error> {
        let validity = cert.validity();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < validity.not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > validity.not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        let names_one = cert.signature_algorithm == cert.tbs_certificate.signature;
        let is_whole = cert.signature_value.unused_bits == 0;
        // By SHA-1 others could have made the same signature.
        let is_old = cert.signature_algorithm.algorithm == OID_PKCS1_SHA1WITHRSA;
        if !names_one || !is_whole || is_old {
            return Err(CertificateError::BadSignature.into());
        }
        let mut failure = CertificateError::UnknownIssuer;
        for authority in &self.authorities {
            let Ok((_, authority)) = X509Certificate::from_der(authority) else { continue };
            if authority.subject().as_raw() != cert.issuer().as_raw() {
                continue;
            }
            if cert.verify_signature(Some(authority.public_key())).is_ok() {
                return Ok(());
            }
            failure = CertificateError::BadSignature;
        }
        Err(failure.into())
    }

    fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(old) = of_version_1(cert) else {
            return verify_tls12_signature(message, cert, dss, &self.algorithms);
        };
        let bad = || Error::from(CertificateError::BadSignature);
        let key = SubjectPublicKeyInfoDer::from(old.public_key().raw);
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
        let schemes = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == dss.scheme);
        let mut ways = schemes.flat_map(|(_, ways)| ways.iter());
        // As in TLS 1.2 itself, a scheme does not say which curve the key is on.
        match ways.any(|way| key.verify_signature(*way, message, dss.signature()).is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(bad()),
        }
    }

    fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match of_version_1(cert) {
            None => verify_tls13_signature(message, cert, dss, &self.algorithms),
            Some(old) => {
                let key = SubjectPublicKeyInfoDer::from(old.public_key().raw);
                verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
            }
        }
    }
}

/// Takes a server that has a certificate of a trusted authority, whatever name it is for: the way of Redis between servers.
#[derive(Debug)]
pub(super) struct Trusting(pub(super) Arc<Trust>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(old) = of_version_1(end_entity) {
            self.0.vouches_for(&old, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &self.0.roots,
                intermediates,
                now,
                self.0.algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

/// Takes clients by what rustls says of their certificates, and those of version 1.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) known: Arc<dyn ClientCertVerifier>,
    pub(super) trust: Arc<Trust>,
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.known.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.known.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.known.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(old) = of_version_1(end_entity) else {
            return self.known.verify_client_cert(end_entity, intermediates, now);
        };
        self.trust.vouches_for(&old, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn sample(name: &str) -> CertificateDer<'static> {
        let path = format!("{}/src/net/tls/samples/{name}", env!("CARGO_MANIFEST_DIR"));
        CertificateDer::from_pem_file(path).expect("a certificate")
    }

    fn trust(authorities: &[&str]) -> Trust {
        let provider = rustls::crypto::ring::default_provider();
        Trust {
            roots: Arc::new(RootCertStore::empty()),
            authorities: authorities.iter().map(|name| sample(name)).collect(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    #[test]
    fn its_time_its_authority_and_its_signature_count() {
        let der = sample("ec.crt");
        let cert = of_version_1(&der).expect("of version 1");
        assert!(of_version_1(&sample("ca.crt")).is_none(), "it is of version 3");
        let at =
            |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(seconds.unsigned_abs()));
        let start = cert.validity().not_before.timestamp();
        let end = cert.validity().not_after.timestamp();
        let known = trust(&["ca.crt"]);
        for good in [start, start + 1000, end] {
            assert_eq!(known.vouches_for(&cert, at(good)), Ok(()));
        }
        let refused = |trust: &Trust, cert: &X509Certificate<'_>, seconds: i64| match trust
            .vouches_for(cert, at(seconds))
        {
            Err(Error::InvalidCertificate(why)) => why,
            outcome => panic!("{outcome:?}"),
        };
        assert_eq!(refused(&known, &cert, start - 1), CertificateError::NotValidYet);
        assert_eq!(refused(&known, &cert, end + 1), CertificateError::Expired);
        let nobody = trust(&[]);
        assert_eq!(refused(&nobody, &cert, start), CertificateError::UnknownIssuer);
        // What it vouches for itself is no authority, though it is called so.
        let itself = trust(&["ec.crt"]);
        assert_eq!(refused(&itself, &cert, start), CertificateError::UnknownIssuer);
        // One that was changed, anywhere in what is signed or in the signature. What names the way between the two is said within, too.
        let mut forged = 0;
        let signed: &[u8] = cert.tbs_certificate.as_ref();
        let signed_at = memchr::memmem::find(&der, signed).expect("it is a part");
        let signature = der.len() - cert.signature_value.data.len();
        for place in (signed_at..signed_at + signed.len()).chain(signature..der.len()) {
            let mut bytes = der.to_vec();
            bytes[place] ^= 1;
            let changed = CertificateDer::from(bytes);
            if let Some(cert) = of_version_1(&changed) {
                assert!(known.vouches_for(&cert, at(start + 1000)).is_err(), "{place}");
                forged += 1;
            }
        }
        assert!(forged > 100, "{forged}");
    }
}
