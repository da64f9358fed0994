//! `proc-title-template`, filled in.

use super::Settings;

/// The title as a template has it; `None` when it names something unknown, or nothing would be left. `value` gives
/// what a name in braces stands for. Two opening braces are one that is meant.
pub fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut title = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        title.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('{') {
            title.push('{');
            rest = after;
            continue;
        }
        let end = rest.find('}')?;
        title.push_str(&value(&rest[..end])?);
        rest = &rest[end + 1..];
    }
    title.push_str(rest);
    let title = title.trim_matches(' ');
    (!title.is_empty()).then(|| title.to_owned())
}

pub fn value(settings: &Settings, title: &str, config_file: &str, name: &str) -> Option<String> {
    Some(match name {
        "title" => title.to_owned(),
        "listen-addr" if settings.port != 0 || settings.tls.port != 0 => {
            let host = settings.bind.first().map_or("*", String::as_str);
            let port = if settings.port != 0 { settings.port } else { settings.tls.port };
            format!("{host}:{port}")
        }
        "listen-addr" => format!("unixsocket:{}", settings.unixsocket),
        "server-mode" if settings.cluster.enabled => "[cluster]".to_owned(),
        "server-mode" if settings.sentinel.is_some() => "[sentinel]".to_owned(),
        "server-mode" => String::new(),
        "config-file" => config_file.to_owned(),
        "port" => settings.port.to_string(),
        "tls-port" => settings.tls.port.to_string(),
        "unixsocket" => settings.unixsocket.clone(),
        _ => return None,
    })
}

/// Whether a template can be filled in. As in Redis, one that leaves nothing of an empty title cannot.
#[must_use]
pub fn is_valid(template: &str, settings: &Settings) -> bool {
    fill(template, |name| value(settings, "", "-", name)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> Option<String> {
        let settings = Settings { port: 7000, ..Settings::default() };
        fill(template, |name| value(&settings, "redstart-server", "/etc/r.conf", name))
    }

    #[test]
    fn a_template_is_filled_in() {
        let default = filled("{title} {listen-addr} {server-mode}");
        assert_eq!(default.as_deref(), Some("redstart-server *:7000"));
        let all = filled("  a {{x} {port}-{tls-port} {unixsocket}{config-file} ");
        assert_eq!(all.as_deref(), Some("a {x} 7000-0 /etc/r.conf"));
        for wrong in ["{nothing}", "{title", "", "  ", "{server-mode}"] {
            assert_eq!(filled(wrong), None, "{wrong:?}");
        }
        assert!(!is_valid("{title}", &Settings::default()) && is_valid("x", &Settings::default()));
    }
}
