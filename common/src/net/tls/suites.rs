//! Cipher suites, as OpenSSL's lists name them (`ciphers(1)`): what Redis's settings hold.

use rustls::SupportedCipherSuite;

use super::Error;

/// OpenSSL's names of the suites of TLS 1.2 that there are, in its order.
const NAMES: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
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

/// Whether a suite of TLS 1.2 is among those that a word of OpenSSL's means. A word that it does not know, or that means suites which are
/// not there, means none, as in OpenSSL.
fn is_meant(name: &str, word: &str) -> bool {
    match word {
        // All that there is has forward secrecy and keys of 128 bits or more.
        "ALL" | "DEFAULT" | "HIGH" | "ECDH" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH"
        | "TLSv1.2" => true,
        "aECDSA" | "ECDSA" => name.contains("-ECDSA-"),
        "aRSA" => name.contains("-RSA-"),
        "AESGCM" | "AES" | "FIPS" => name.contains("-AES"),
        "AES128" => name.contains("-AES128-"),
        "AES256" => name.contains("-AES256-"),
        "CHACHA20" => name.contains("-CHACHA20-"),
        _ => name.eq_ignore_ascii_case(word),
    }
}

/// Bits of a suite's key.
fn strength(name: &str) -> u16 {
    if name.contains("128") { 128 } else { 256 }
}

/// The suites of TLS 1.2 that a list of OpenSSL's names: words with colons, commas or blanks between; `a+b` is what both mean, `!` removes
/// for good, `-` until it is named again, `+` moves to the end, `@STRENGTH` sorts by bits. Suites that are not there are passed over.
///
/// # Errors
/// When nothing is left, or a command behind `@` is none that is known.
pub(super) fn listed(
    list: &str,
    mut known: Vec<SupportedCipherSuite>,
) -> Result<Vec<SupportedCipherSuite>, Error> {
    known.sort_by_key(|suite| NAMES.iter().position(|(short, _)| *short == name_of(suite)));
    if list.is_empty() {
        return Ok(known);
    }
    let refused = |word: &str| {
        let names: Vec<&str> = known.iter().map(name_of).collect();
        Error::Suite(word.to_owned(), names.join(", "))
    };
    let mut found: Vec<SupportedCipherSuite> = Vec::new();
    let mut banned: Vec<SupportedCipherSuite> = Vec::new();
    for word in list.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
        let (way, word) = match word.split_at_checked(1) {
            Some((way @ ("!" | "-" | "+" | "@"), rest)) => (way, rest),
            _ => ("", word),
        };
        if way == "@" {
            match word {
                "STRENGTH" => found.sort_by_key(|suite| u16::MAX - strength(name_of(suite))),
                // Every suite is above all levels that leave any.
                _ if word.starts_with("SECLEVEL=") => {}
                _ => return Err(refused(word)),
            }
            continue;
        }
        let means = |suite: &SupportedCipherSuite| {
            word.split('+').all(|part| is_meant(name_of(suite), part))
        };
        match way {
            "!" => {
                banned.extend(known.iter().filter(|suite| means(suite)));
                found.retain(|suite| !means(suite));
            }
            "-" => found.retain(|suite| !means(suite)),
            "+" => found.sort_by_key(means),
            _ => {
                for suite in known.iter().filter(|suite| means(suite)) {
                    if !found.contains(suite) && !banned.contains(suite) {
                        found.push(*suite);
                    }
                }
            }
        }
    }
    if found.is_empty() { Err(refused(list)) } else { Ok(found) }
}

/// The suites of TLS 1.3 that a list names, in its order; all of them where it is empty.
///
/// # Errors
/// When one is not there.
pub(super) fn named(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> Vec<SupportedCipherSuite> {
        let all = rustls::crypto::ring::default_provider().cipher_suites;
        all.into_iter().filter(|suite| suite.tls13().is_none()).collect()
    }

    fn names(list: &str) -> String {
        match listed(list, old()) {
            Ok(suites) => suites.iter().map(name_of).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    /// Each list beside what `openssl ciphers -s -tls1_2` makes of it, of which the suites that are not there are left out.
    #[test]
    fn lists_mean_what_openssl_says() {
        let [a256, a128, cc] = ["AES256-GCM-SHA384", "AES128-GCM-SHA256", "CHACHA20-POLY1305"];
        let (e, r) = ("ECDHE-ECDSA-", "ECDHE-RSA-");
        let all = names("");
        for same in ["DEFAULT", "ALL", "HIGH:!aNULL:!MD5", "DEFAULT:!MEDIUM", "ECDHE:!NULL,!eNULL"]
        {
            assert_eq!(names(same), all, "{same}");
        }
        assert_eq!(names("AES256-SHA:ECDHE-RSA-AES128-GCM-SHA256"), format!("{r}{a128}"));
        assert_eq!(names("ECDHE+AESGCM+aRSA"), format!("{r}{a256} {r}{a128}"));
        assert_eq!(names("CHACHA20"), format!("{e}{cc} {r}{cc}"));
        assert_eq!(names("HIGH:!ECDSA:!AES128"), format!("{r}{a256} {r}{cc}"));
        assert_eq!(names("AES128:-aRSA:CHACHA20+aRSA"), format!("{e}{a128} {r}{cc}"));
        assert_eq!(names("aRSA:+AES256"), format!("{r}{cc} {r}{a128} {r}{a256}"));
        assert_eq!(names("FIPS+ECDSA"), format!("{e}{a256} {e}{a128}"));
        assert_eq!(names("AES128+aRSA:AES256+aRSA:@STRENGTH"), format!("{r}{a256} {r}{a128}"));
        // What was removed for good does not come again.
        assert_eq!(names("aRSA:!AES128:AES128+aRSA"), format!("{r}{a256} {r}{cc}"));
        for none in ["AES128-SHA256:AES256-SHA256", "RSA", "SHA384", "!ALL:DEFAULT", "@NONE"] {
            assert!(names(none).contains("is no cipher suite that is supported"), "{none}");
        }
    }
}
