//! TLS over pipes within the process, with certificates made for it.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;
use crate::net::layered::tests::{carry, part, read_all, run};
use crate::net::{Stream, memory};

/// A folder with an authority `ca.crt`, what it vouches for (`own.crt`, `own.key`, for `localhost`), and a stranger who vouches for
/// himself (`other.crt`, `other.key`).
struct Papers(PathBuf);

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Papers {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("redstart-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(folder.join("folder")).expect("a folder");
        let write = |name: &str, text: String| {
            std::fs::write(folder.join(name), text).expect("written");
        };
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).expect("a certificate");
        write("ca.crt", ca.pem());
        write("folder/ca.pem", ca.pem());
        write("folder/readme.txt", "no certificate".to_owned());
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let own = params.signed_by(&key, &issuer).expect("a certificate");
        write("own.crt", own.pem());
        write("own.key", key.serialize_pem());
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        write("other.crt", params.self_signed(&key).expect("a certificate").pem());
        write("other.key", key.serialize_pem());
        let locked =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        write("locked.key", locked.to_owned());
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// What these files make; an empty name is none. `protocols` as in the settings.
    fn material(&self, cert: &str, ca: &str, protocols: &str) -> Material {
        let path = |name: &str| if name.is_empty() { String::new() } else { self.path(name) };
        let named = |end: &str| {
            if cert.is_empty() { String::new() } else { self.path(&format!("{cert}.{end}")) }
        };
        let (cert, key, ca) = (named("crt"), named("key"), path(ca));
        let files = Files { cert: &cert, key: &key, ca: &ca, protocols, ..Files::default() };
        Material::load(&files).expect("good files")
    }
}

/// Both ends of a connection over a pipe with so much room.
fn ends(
    server: &Material,
    auth: ClientAuth,
    client: &Material,
    peer: Peer<'_>,
    room: usize,
) -> [Stream; 2] {
    let (near, far) = memory::pair(room);
    let accepted = server.accepted(auth).expect("a certificate");
    let connected = client.connected(peer).expect("a name");
    [Stream::Memory(near).under(accepted), Stream::Memory(far).under(connected)]
}

/// What each end of a connection comes to.
fn outcomes(mut ends: [Stream; 2]) -> [Result<String, String>; 2] {
    run(async {
        let [near, far] = &mut ends;
        // The client of TLS 1.3 learns whether it is accepted when it reads.
        let server = async {
            near.handshake().await?;
            near.try_write(b"hi")?;
            near.shut_down();
            io::Result::Ok(near.agreed().unwrap_or_default())
        };
        let client = async {
            far.handshake().await?;
            assert_eq!(read_all(far).await?, b"hi");
            io::Result::Ok(far.agreed().unwrap_or_default())
        };
        let (server, client) = tokio::join!(server, client);
        [server, client].map(|outcome| outcome.map_err(|error| error.to_string()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn tls_carries_what_a_plain_stream_does(
        near in part(),
        far in part(),
        room in prop::sample::select(vec![1usize, 7, 100, 5000, 100_000]),
        protocols in prop::sample::select(vec!["TLSv1.2", "TLSv1.3", ""]),
    ) {
        let papers = Papers::new(&format!("carries-{room}-{protocols}"));
        let both = papers.material("own", "ca.crt", protocols);
        let ends = ends(&both, ClientAuth::Required, &both, Peer::Named("localhost"), room);
        carry(ends, [near, far], room >= 100);
    }
}

#[test]
fn much_goes_through_in_both_directions() {
    let papers = Papers::new("much");
    let both = papers.material("own", "ca.crt", "");
    let [mut near, mut far] = ends(&both, ClientAuth::No, &both, Peer::Trusted, 50_000);
    let said: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    run(async {
        let talk = async {
            near.handshake().await.expect("they agree");
            let mut sent = 0;
            while sent < said.len() {
                let rest = &said[sent..];
                sent += std::future::poll_fn(|cx| near.poll_write(cx, rest)).await.expect("open");
            }
            std::future::poll_fn(|cx| near.poll_flush(cx)).await.expect("open");
            near
        };
        let hear = async {
            far.handshake().await.expect("they agree");
            let mut heard = Vec::new();
            let mut room = vec![0; 100_000];
            while heard.len() < said.len() {
                let mut space = tokio::io::ReadBuf::new(&mut room);
                std::future::poll_fn(|cx| far.poll_read(cx, &mut space)).await.expect("open");
                heard.extend_from_slice(space.filled());
            }
            heard
        };
        let (_near, heard) = tokio::join!(talk, hear);
        assert!(heard == said);
    });
}

#[test]
fn who_vouches_for_whom_decides() {
    let papers = Papers::new("vouches");
    let own = papers.material("own", "ca.crt", "");
    let stranger = papers.material("other", "ca.crt", "");
    let nobody = papers.material("", "ca.crt", "");
    let by_folder = {
        let folder = papers.path("folder");
        Material::load(&Files { ca_folder: &folder, ..Files::default() }).expect("a folder")
    };
    let trusts_other = papers.material("own", "other.crt", "");
    use ClientAuth::{No, Optional, Required};
    for (server, auth, client, peer, good) in [
        (&own, Required, &own, Peer::Trusted, true),
        (&own, Required, &nobody, Peer::Trusted, false),
        (&own, Required, &stranger, Peer::Trusted, false),
        (&own, Optional, &nobody, Peer::Trusted, true),
        (&own, Optional, &stranger, Peer::Trusted, false),
        (&own, No, &stranger, Peer::Trusted, true),
        (&own, No, &by_folder, Peer::Named("localhost"), true),
        (&own, No, &nobody, Peer::Named("elsewhere"), false),
        (&own, No, &trusts_other, Peer::Trusted, false),
        (&stranger, No, &nobody, Peer::Trusted, false),
    ] {
        let outcomes = outcomes(ends(server, auth, client, peer, 100_000));
        let is_good = outcomes.iter().all(Result::is_ok);
        assert_eq!(is_good, good, "{auth:?} {peer:?}: {outcomes:?}");
    }
    let agreed = outcomes(ends(&own, No, &nobody, Peer::Trusted, 100_000));
    assert_eq!(agreed[0], agreed[1]);
    assert!(agreed[0].as_ref().is_ok_and(|text| text.starts_with("TLSv1.3 with TLS13_")));
    let old = papers.material("own", "ca.crt", "TLSv1.2");
    let agreed = outcomes(ends(&own, No, &old, Peer::Trusted, 100_000));
    assert!(agreed[0].as_ref().is_ok_and(|text| text.starts_with("TLSv1.2 with TLS_ECDHE_")));
    let new = papers.material("own", "ca.crt", "TLSv1.3");
    assert!(outcomes(ends(&new, No, &old, Peer::Trusted, 100_000)).iter().all(Result::is_err));
}

#[test]
fn an_end_without_a_word_is_no_clean_end() {
    let papers = Papers::new("end");
    let both = papers.material("own", "ca.crt", "");
    let [mut near, mut far] = ends(&both, ClientAuth::No, &both, Peer::Trusted, 100_000);
    run(async {
        let (one, other) = tokio::join!(near.handshake(), far.handshake());
        one.and(other).expect("they agree");
        near.try_write(b"abc").expect("room");
        near.fall_silent();
        drop(near);
        let cut = read_all(&mut far).await.expect_err("nothing was said of an end");
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn what_cannot_be_had_is_refused_with_a_reason() {
    let papers = Papers::new("refused");
    let (cert, key, ca) = (papers.path("own.crt"), papers.path("own.key"), papers.path("ca.crt"));
    let [other, locked, none] = ["other.key", "locked.key", "none.crt"].map(|it| papers.path(it));
    let good = Files { cert: &cert, key: &key, ca: &ca, ..Files::default() };
    assert!(Material::load(&good).is_ok());
    let suites = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
    let chosen = Files { ciphers: suites, suites: "TLS_AES_128_GCM_SHA256", ..good };
    let chosen = Material::load(&chosen).expect("suites that there are");
    let agreed = outcomes(ends(&chosen, ClientAuth::No, &chosen, Peer::Trusted, 100_000));
    assert!(agreed[0].as_ref().is_ok_and(|text| text.ends_with("TLS13_AES_128_GCM_SHA256")));
    for (files, reason) in [
        (Files { cert: &none, ..good }, "a certificate cannot be read from"),
        (Files { cert: &key, ..good }, "it holds no certificate in PEM"),
        (Files { key: &cert, ..good }, "a private key cannot be read from"),
        (Files { key: &other, ..good }, "does not belong to the certificate"),
        (Files { key: &locked, ..good }, "a private key cannot be read from"),
        (Files { ca: &none, ..good }, "authorities (CA) cannot be read from"),
        (Files { protocols: "TLSv1.1 TLSv1.2", ..good }, "'TLSv1.1' is no version"),
        (Files { ciphers: "AES128-SHA", ..good }, "'AES128-SHA' is no cipher suite"),
        (Files { suites: "TLS_AES_128_CCM_SHA256", ..good }, "TLS_AES_256_GCM_SHA384, TLS_AES"),
    ] {
        let error = Material::load(&files).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    let without = Files { ca: "", ..good };
    let without = Material::load(&without).expect("an authority is not needed");
    assert!(matches!(without.accepted(ClientAuth::Required), Err(Error::NoAuthority)));
    let nothing = Material::load(&Files::default()).expect("a client may show nothing");
    assert!(matches!(nothing.accepted(ClientAuth::No), Err(Error::NoCertificate)));
    assert!(matches!(nothing.connected(Peer::Named("a b")), Err(Error::Name(_))));
    assert!(Path::new(&cert).exists());
}

/// The path of a file that OpenSSL has made: `ca.crt`, certificates of version 1 that it vouches for, and their keys.
fn sample(name: &str) -> String {
    format!("{}/src/net/tls/samples/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn of_version_1(kind: &str, protocols: &str) -> Material {
    let [cert, key] = ["crt", "key"].map(|end| sample(&format!("{kind}.{end}")));
    let ca = sample("ca.crt");
    let files = Files { cert: &cert, key: &key, ca: &ca, protocols, ..Files::default() };
    Material::load(&files).expect("good files")
}

#[test]
fn certificates_of_version_1_are_good_where_their_authority_is_trusted() {
    let papers = Papers::new("version-1");
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        for kind in ["ec", "rsa"] {
            let old = of_version_1(kind, protocols);
            let agreed = outcomes(ends(&old, ClientAuth::Required, &old, Peer::Trusted, 100_000));
            let text = agreed[0].as_ref().expect("they agree");
            assert!(text.starts_with(protocols), "{kind}: {text}");
            assert_eq!(agreed[0], agreed[1]);
        }
        // Each shows what the other does not trust.
        let new = papers.material("own", "ca.crt", protocols);
        let old = of_version_1("ec", protocols);
        for [server, client] in [[&new, &old], [&old, &new]] {
            let ends = ends(server, ClientAuth::Required, client, Peer::Trusted, 100_000);
            assert!(outcomes(ends).iter().any(Result::is_err));
        }
        // A client of version 1 is refused by those who do not know its authority.
        let ca = sample("ca.crt");
        let trusts_all = Files { ca: &ca, protocols, ..Files::default() };
        let shows = [sample("ec.crt"), sample("ec.key")];
        let shows =
            Files { cert: &shows[0], key: &shows[1], ca: &papers.path("ca.crt"), ..trusts_all };
        let client = Material::load(&shows).expect("good files");
        let [server, _] =
            outcomes(ends(&new, ClientAuth::Optional, &client, Peer::Trusted, 100_000));
        assert!(server.is_err_and(|error| error.contains("UnknownIssuer")));
    }
}

#[test]
fn locked_keys_are_opened_by_their_passwords() {
    let [cert, key, ca] = ["ec.crt", "locked.key", "ca.crt"].map(sample);
    let files = Files { cert: &cert, key: &key, key_password: "secret", ..Files::default() };
    let server = Material::load(&Files { ca: &ca, ..files }).expect("the password fits");
    let client = Files { client_cert: &cert, client_key: &key, ..Files::default() };
    let client = Files { client_key_password: "secret", ca: &ca, ..client };
    let client = Material::load(&client).expect("the password fits");
    let ends = ends(&server, ClientAuth::Required, &client, Peer::Trusted, 100_000);
    assert!(outcomes(ends).iter().all(Result::is_ok));
    let in_the_old_way = sample("locked-old.key");
    for (files, reason) in [
        (Files { key_password: "", ..files }, "it is locked by a password, and none is given"),
        (Files { key_password: "wrong", ..files }, "it cannot be unlocked"),
        (Files { key: &in_the_old_way, ..files }, "is encrypted in OpenSSL's old way"),
    ] {
        let error = Material::load(&files).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn who_does_not_speak_tls_is_told_nothing() {
    let papers = Papers::new("plain");
    let server = papers.material("own", "ca.crt", "");
    for (said, is_answered) in
        [(b"*1\r\n$4\r\nPING\r\n".as_slice(), false), (&[22, 3, 1, 0, 0], true)]
    {
        let mut layer = server.accepted(ClientAuth::No).expect("a certificate");
        assert!(layer.take_in(said).is_err());
        assert_eq!(layer.has_to_send(), is_answered, "{said:?}");
    }
}

#[test]
fn what_is_taken_and_not_sent_is_counted() {
    let papers = Papers::new("held");
    let both = papers.material("own", "ca.crt", "");
    let [mut near, mut far] = ends(&both, ClientAuth::No, &both, Peer::Trusted, 2000);
    run(async {
        let (one, other) = tokio::join!(near.handshake(), far.handshake());
        one.and(other).expect("they agree");
        read_some(&mut far).await;
        assert_eq!(near.held(), 0);
        let taken = near.try_write(&[b'v'; 50_000]).expect("it is taken");
        // The transport has room for less than a tenth of it.
        assert!(near.is_behind() && near.held() >= taken, "{} of {taken}", near.held());
        let mut heard = 0;
        while heard < taken {
            heard += read_some(&mut far).await;
            let _ = near.flush_now();
        }
        assert_eq!(near.held(), 0);
    });
}

/// Reads what there is, if anything.
async fn read_some(stream: &mut Stream) -> usize {
    let mut room = vec![0; 100_000];
    tokio::task::yield_now().await;
    stream.read_now(&mut room).unwrap_or(0)
}
