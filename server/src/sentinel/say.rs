//! Events: what is logged, published, and told to scripts.

use redstart_common::log::Level;

use super::{Action, Key, Kind, Sentinel};

/// Bytes of an event's text, as many as Redis has room for.
const TEXT_MAX: usize = 1023;

impl Sentinel {
    /// An instance as events name it: what it is, what it is called and where it is, and of which primary.
    fn about(&self, key: &Key) -> String {
        let (Some(primary), Some(it)) = (self.primaries.get(&*key.primary), self.instance(key))
        else {
            return String::new();
        };
        let (word, host) = (key.kind.word(), self.announced(&it.at));
        let own = format!("{word} {} {host} {}", it.name, it.at.port);
        match key.kind {
            Kind::Primary => own,
            _ => {
                let at = &primary.own.at;
                format!("{own} @ {} {} {}", primary.own.name, self.announced(at), at.port)
            }
        }
    }

    /// Tells an event of an instance, which the text names first.
    pub(super) fn say(&mut self, level: Level, event: &'static str, key: &Key) {
        self.say_more(level, event, key, "");
    }

    /// The same with more text behind.
    pub(super) fn say_more(&mut self, level: Level, event: &'static str, key: &Key, more: &str) {
        let text = format!("{}{more}", self.about(key));
        self.say_of(level, event, &key.primary.clone(), text);
    }

    /// Tells an event of a primary in other words.
    pub(super) fn say_of(
        &mut self,
        level: Level,
        event: &'static str,
        primary: &str,
        text: String,
    ) {
        let text = cut(text);
        let script = self.primaries.get(primary).and_then(|it| it.notification_script.clone());
        self.say_nobody(level, event, text.clone());
        if let Some(script) = script.filter(|_| level == Level::Warning) {
            self.schedule(vec![script, event.to_owned(), text]);
        }
    }

    /// Tells an event of no primary.
    pub(super) fn say_nobody(&mut self, level: Level, event: &'static str, text: String) {
        self.actions.push(Action::Say(level, event, cut(text)));
    }

    pub(super) fn say_monitor(&mut self, name: &str) {
        let Some(quorum) = self.primaries.get(name).map(|it| it.quorum) else { return };
        self.say_more(
            Level::Warning,
            "+monitor",
            &Key::primary(name),
            &format!(" quorum {quorum}"),
        );
    }

    pub(super) fn say_new_epoch(&mut self, primary: &str) {
        let text = self.epoch.to_string();
        self.say_of(Level::Warning, "+new-epoch", primary, text);
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let mut end = TEXT_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
