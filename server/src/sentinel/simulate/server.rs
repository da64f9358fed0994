//! The model of a server: what a sentinel can see of one, and what it can have it do.

use std::fmt::Write as _;

/// A server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its group.
    pub group: usize,
    /// Its address.
    pub ip: String,
    /// The process runs.
    pub is_up: bool,
    /// It stands still until then.
    pub paused_until: i64,
    /// How often it was started.
    pub life: u32,
    /// Whom it follows.
    pub follows: Option<String>,
    /// What its file says of that.
    pub file_follows: Option<String>,
    /// Its link is up since it has synced.
    pub link_is_up: bool,
    /// Since when it is not.
    pub link_down_since: i64,
    /// When a sync that is under way is done.
    pub synced_at: Option<i64>,
    /// Up to where its data goes.
    pub offset: u64,
    /// Its priority.
    pub priority: i64,
    /// The data is being loaded until then.
    pub loads_until: i64,
}

/// All servers listen there.
pub const PORT: u16 = 6379;

impl Server {
    pub fn new(group: usize, number: usize, primary: Option<String>, priority: i64) -> Self {
        Self {
            group,
            ip: format!("10.0.{group}.{number}"),
            is_up: true,
            paused_until: 0,
            life: 0,
            file_follows: primary.clone(),
            follows: primary,
            link_is_up: false,
            link_down_since: 0,
            synced_at: None,
            offset: 0,
            priority,
            loads_until: 0,
        }
    }

    /// What it answers INFO with. `replicas` are the addresses of those that are connected.
    pub fn info(&self, now: i64, replicas: &[String]) -> String {
        let mut text = String::new();
        let run_id = format!("{:a<36}{:04}", self.ip.replace('.', "d"), self.life);
        let _ = write!(text, "# Server\r\nrun_id:{run_id}\r\n# Replication\r\n");
        match &self.follows {
            None => text.push_str("role:master\r\n"),
            Some(host) => {
                let status = if self.link_is_up { "up" } else { "down" };
                let _ = write!(
                    text,
                    "role:slave\r\nmaster_host:{host}\r\nmaster_port:{PORT}\r\nmaster_link_status:{status}\r\n"
                );
                if !self.link_is_up {
                    let seconds = (now - self.link_down_since) / 1000;
                    let _ = write!(text, "master_link_down_since_seconds:{seconds}\r\n");
                }
                let _ = write!(
                    text,
                    "slave_repl_offset:{}\r\nslave_priority:{}\r\nreplica_announced:1\r\n",
                    self.offset, self.priority
                );
            }
        }
        for (number, ip) in replicas.iter().enumerate() {
            let _ =
                write!(text, "slave{number}:ip={ip},port={PORT},state=online,offset=1,lag=0\r\n");
        }
        text
    }

    /// Follows somebody else, or nobody, from now on.
    pub fn follow(&mut self, host: Option<String>, now: i64) {
        if self.follows == host {
            return;
        }
        self.follows = host;
        self.link_is_up = false;
        self.link_down_since = now;
        self.synced_at = None;
    }
}
