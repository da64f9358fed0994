//! Connections to those whom a watch asks: opened, asked and let go as it says, each served by a task.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

/// An open or opening connection; ends when it is dropped.
#[derive(Debug)]
struct Link<Ask> {
    number: u64,
    asks: UnboundedSender<Ask>,
    task: JoinHandle<()>,
}

impl<Ask> Drop for Link<Ask> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a connection's task tells what happens.
#[derive(Debug)]
pub struct Tell<Id, Event> {
    /// Whose connection it is.
    pub id: Id,
    number: u64,
    events: UnboundedSender<(Id, u64, Event)>,
}

impl<Id: Copy, Event> Tell<Id, Event> {
    /// Tells.
    pub fn tell(&self, event: Event) {
        // The watch lives as long as the process.
        let _ = self.events.send((self.id, self.number, event));
    }
}

/// The connections of a watch.
#[derive(Debug)]
pub struct Links<Id, Ask, Event> {
    links: HashMap<Id, Link<Ask>>,
    /// Connections there have been.
    number: u64,
    events: UnboundedSender<(Id, u64, Event)>,
    inbox: UnboundedReceiver<(Id, u64, Event)>,
}

impl<Id: Copy + Eq + Hash, Ask, Event> Default for Links<Id, Ask, Event> {
    fn default() -> Self {
        let (events, inbox) = mpsc::unbounded_channel();
        Self { links: HashMap::new(), number: 0, events, inbox }
    }
}

impl<Id: Copy + Eq + Hash, Ask, Event> Links<Id, Ask, Event> {
    /// Has a task serve a connection, in place of the one there may have been: `serve` is given the questions, and how to
    /// tell what happens.
    pub fn open<Task>(
        &mut self,
        id: Id,
        serve: impl FnOnce(UnboundedReceiver<Ask>, Tell<Id, Event>) -> Task,
    ) where
        Task: Future<Output = ()> + Send + 'static,
    {
        self.number += 1;
        let number = self.number;
        let (asks, questions) = mpsc::unbounded_channel();
        let tell = Tell { id, number, events: self.events.clone() };
        let task = tokio::spawn(serve(questions, tell));
        self.links.insert(id, Link { number, asks, task });
    }

    /// Lets go of a connection.
    pub fn close(&mut self, id: Id) {
        self.links.remove(&id);
    }

    /// Asks.
    pub fn ask(&self, id: Id, ask: Ask) {
        if let Some(link) = self.links.get(&id) {
            // It may have ended: then it tells so itself.
            let _ = link.asks.send(ask);
        }
    }

    /// What happens next. What a connection told before it was let go counts no more.
    pub async fn next(&mut self) -> (Id, Event) {
        loop {
            // This end keeps the other open.
            let Some((id, number, event)) = self.inbox.recv().await else { continue };
            if self.links.get(&id).is_some_and(|link| link.number == number) {
                return (id, event);
            }
        }
    }
}
