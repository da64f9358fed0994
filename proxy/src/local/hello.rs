//! `AUTH` and `HELLO`.

use redstart_common::resp::encode::Proto;
use redstart_common::resp::{Args, RespWrite, error};

use super::REDIS_VERSION;
use crate::client::ClientId;
use crate::client::dispatch::refuse;
use crate::client::request::Request;
use crate::route::lane::Manner;
use crate::settings::PoolSettings;
use crate::worker::Core;

/// The one user there is.
pub const USER: &[u8] = b"default";

/// Whether a password is right, taking as long for a wrong one as for the right one.
fn is_right(wanted: &str, given: &[u8]) -> bool {
    let wanted = wanted.as_bytes();
    let differences = wanted.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
    differences == 0 && wanted.len() == given.len()
}

/// Whether a user and password are the pool's.
fn is_known(settings: &PoolSettings, user: &[u8], password: &[u8]) -> bool {
    let wanted = settings.redis_auth.as_deref();
    user == USER && wanted.is_none_or(|wanted| is_right(wanted, password))
}

/// Checks a user and password against the pool's.
fn check(core: &mut Core, id: ClientId, user: &[u8], password: &[u8]) -> bool {
    let Some(client) = core.down.clients.get_mut(id) else { return false };
    let right = is_known(&core.pools[client.pool].shared.settings, user, password);
    client.authenticated |= right;
    right
}

/// `AUTH [user] password`
pub fn auth(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Request { args, now_us, .. } = request;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let has_password = core.pools[client.pool].shared.settings.redis_auth.is_some();
    let (user, password) = match args.len() {
        2 if !has_password => {
            return refuse(core, id, now_us, |out| out.error(error::AUTH_WITHOUT_PASSWORD));
        }
        2 => (USER, args.at(1)),
        3 => (args.at(1), args.at(2)),
        _ => return refuse(core, id, now_us, |out| out.error(error::SYNTAX)),
    };
    if check(core, id, user, password) {
        core.down.clients.reply(id, now_us, |out| out.simple("OK"));
    } else {
        refuse(core, id, now_us, |out| out.error(error::WRONG_PASS));
    }
}

struct Options<'a> {
    resp3: Option<bool>,
    auth: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

fn options<'a>(args: Args<'a>) -> Result<Options<'a>, Vec<u8>> {
    let mut options = Options { resp3: None, auth: None, name: None };
    let Some(version) = args.get(1) else { return Ok(options) };
    let number = std::str::from_utf8(version).ok().and_then(|text| text.parse::<i64>().ok());
    options.resp3 = Some(match number {
        Some(2) => false,
        Some(3) => true,
        Some(_) => return Err(error::NO_PROTO.into()),
        None => return Err(error::PROTO_NOT_AN_INTEGER.into()),
    });
    let mut at = 2;
    while let Some(word) = args.get(at) {
        match (word.to_ascii_uppercase().as_slice(), args.get(at + 1), args.get(at + 2)) {
            (b"AUTH", Some(user), Some(password)) => {
                options.auth = Some((user, password));
                at += 3;
            }
            (b"SETNAME", Some(name), _) => {
                options.name = Some(name);
                at += 2;
            }
            _ => {
                let mut text = b"ERR Syntax error in HELLO option '".to_vec();
                text.extend_from_slice(word);
                text.push(b'\'');
                return Err(text);
            }
        }
    }
    Ok(options)
}

/// Whether a client that is known already speaks RESP3 after a HELLO; `None` where that changes nothing.
#[must_use]
pub fn would_speak(settings: &PoolSettings, args: Args<'_>) -> Option<bool> {
    let options = options(args).ok()?;
    let is_well = options.auth.is_none_or(|(user, password)| is_known(settings, user, password))
        && options.name.is_none_or(|name| super::client_command::checked_name(name).is_ok());
    options.resp3.filter(|_| is_well)
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub fn hello(core: &mut Core, id: ClientId, request: Request<'_>) {
    let now_us = request.now_us;
    let options = match options(request.args) {
        Ok(options) => options,
        Err(text) => return refuse(core, id, now_us, |out| out.error(&text)),
    };
    if let Some((user, password)) = options.auth
        && !check(core, id, user, password)
    {
        return refuse(core, id, now_us, |out| out.error(error::WRONG_PASS));
    }
    let Some(client) = core.down.clients.get_mut(id) else { return };
    if !client.authenticated {
        return refuse(core, id, now_us, |out| out.error(error::HELLO_NO_AUTH));
    }
    if let Some(name) = options.name {
        match super::client_command::checked_name(name) {
            Ok(name) => client.session.name = name,
            Err(text) => return refuse(core, id, now_us, |out| out.error(text)),
        }
    }
    if let Some(resp3) = options.resp3 {
        client.set_manner(Manner { resp3, ..client.manner() });
    }
    let number = client.session.number as i64;
    let has_slots = core.pools[client.pool].has_slots();
    let proto = if client.resp3 { Proto::Resp3 } else { Proto::Resp2 };
    core.down.clients.reply(id, now_us, |out| {
        out.map_len(7, proto);
        out.bulk(b"server");
        out.bulk(b"redis");
        out.bulk(b"version");
        out.bulk(REDIS_VERSION.as_bytes());
        out.bulk(b"proto");
        out.integer(proto.number());
        out.bulk(b"id");
        out.integer(number);
        out.bulk(b"mode");
        out.bulk(if has_slots { b"cluster".as_slice() } else { b"standalone" });
        out.bulk(b"role");
        out.bulk(b"master");
        out.bulk(b"modules");
        out.array_len(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_password_is_right() {
        assert!(is_right("secret", b"secret"));
        for wrong in ["", "secre", "secrets", "Secret"] {
            assert!(!is_right("secret", wrong.as_bytes()), "{wrong}");
        }
    }
}
