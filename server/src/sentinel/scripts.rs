//! Scripts that wait, run, and are tried again.

use redstart_common::log::Level;

use super::{Action, Address, Sentinel};

/// Scripts that wait or run; beyond, the oldest that waits is dropped.
const QUEUE_MAX: usize = 256;
/// Scripts that run at the same time.
const RUNNING_MAX: usize = 16;
/// Times that a script is run.
const TRIES_MAX: u32 = 10;

/// A script that waits or runs.
#[derive(Debug, Clone)]
pub struct Job {
    id: u64,
    /// The script and its arguments.
    pub words: Vec<String>,
    /// Whether it runs.
    pub is_running: bool,
    /// How often it was run.
    pub tries: u32,
    /// Since when it runs, or not before when it may; 0 is at once. In milliseconds since 1970.
    pub time: i64,
    /// The process that it is.
    pub pid: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    queue: Vec<Job>,
    next: u64,
}

impl Sentinel {
    /// Scripts that wait or run, the oldest first.
    #[must_use]
    pub fn scripts(&self) -> &[Job] {
        &self.scripts.queue
    }

    /// How many run.
    #[must_use]
    pub fn scripts_running(&self) -> usize {
        self.scripts.queue.iter().filter(|job| job.is_running).count()
    }

    pub(super) fn schedule(&mut self, words: Vec<String>) {
        let id = self.scripts.next;
        self.scripts.next += 1;
        let job = Job { id, words, is_running: false, tries: 0, time: 0, pid: 0 };
        let queue = &mut self.scripts.queue;
        queue.push(job);
        if queue.len() > QUEUE_MAX
            && let Some(oldest) = queue.iter().position(|job| !job.is_running)
        {
            queue.remove(oldest);
        }
    }

    /// Has clients be told that the primary is another.
    pub(super) fn call_reconfig_script(
        &mut self,
        primary: &str,
        leads: bool,
        from: &Address,
        to: &Address,
    ) {
        let Some(script) = self.primaries.get(primary).and_then(|it| it.reconfig_script.clone())
        else {
            return;
        };
        let role = if leads { "leader" } else { "observer" };
        let words = [script.as_str(), primary, role, "start"];
        let mut words: Vec<String> = words.map(str::to_owned).into();
        for address in [from, to] {
            words.push(self.announced(address).to_owned());
            words.push(address.port.to_string());
        }
        self.schedule(words);
    }

    pub(super) fn run_scripts(&mut self) {
        let mut running = self.scripts_running();
        for job in &mut self.scripts.queue {
            if running >= RUNNING_MAX {
                break;
            }
            if job.is_running || job.time > self.now {
                continue;
            }
            job.is_running = true;
            job.time = self.now;
            job.tries += 1;
            running += 1;
            self.actions.push(Action::Run(job.id, job.words.clone()));
        }
    }

    fn job(&mut self, id: u64) -> Option<&mut Job> {
        self.scripts.queue.iter_mut().find(|job| job.id == id)
    }

    pub(super) fn script_started(&mut self, id: u64, pid: u32) {
        if let Some(job) = self.job(id) {
            job.pid = pid;
            self.say_nobody(Level::Debug, "+script-child", pid.to_string());
        }
    }

    pub(super) fn script_not_started(&mut self, id: u64) {
        if let Some(job) = self.job(id) {
            job.is_running = false;
            job.pid = 0;
            let text = format!("{} 99 0", job.words[0]);
            self.say_nobody(Level::Warning, "-script-error", text);
        }
    }

    pub(super) fn script_ended(&mut self, id: u64, code: i32, signal: i32) {
        let delay = self.periods.script_retry_delay;
        let now = self.now;
        let Some(job) = self.job(id) else { return };
        let (pid, path, tries) = (job.pid, job.words[0].clone(), job.tries);
        let again = (signal != 0 || code == 1) && tries < TRIES_MAX;
        if again {
            job.is_running = false;
            job.pid = 0;
            // Twice as long each time.
            job.time = now.saturating_add(delay.saturating_mul(1 << (tries - 1)));
        }
        self.say_nobody(Level::Debug, "-script-child", format!("{pid} {code} {signal}"));
        if again {
            return;
        }
        if signal != 0 || code != 0 {
            self.say_nobody(Level::Warning, "-script-error", format!("{path} {signal} {code}"));
        }
        self.scripts.queue.retain(|job| job.id != id);
    }

    pub(super) fn look_at_slow_scripts(&mut self) {
        let most = self.periods.script_max_runtime;
        let slow = self.scripts.queue.iter();
        let slow: Vec<(u64, String)> = slow
            .filter(|job| job.is_running && self.now - job.time > most)
            .map(|job| (job.id, format!("{} {}", job.words[0], job.pid)))
            .collect();
        for (id, text) in slow {
            self.say_nobody(Level::Warning, "-script-timeout", text);
            self.actions.push(Action::Kill(id));
        }
    }
}
