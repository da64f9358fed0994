//! What the nodes of a cluster tell each other of what is published: late, each way in its order.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::servers::World;

#[derive(Debug)]
struct Letter {
    due: Instant,
    to: usize,
    words: Vec<Vec<u8>>,
}

/// Messages on their way from node to node.
#[derive(Debug, Default)]
pub struct Bus {
    letters: RefCell<Vec<Letter>>,
    last: RefCell<HashMap<(usize, usize), Instant>>,
    news: Notify,
}

impl Bus {
    /// A node tells another, which hears it after `lag`, and not before what it was told earlier.
    pub fn send(&self, way: (usize, usize), lag: Duration, words: &[&[u8]]) {
        let mut last = self.last.borrow_mut();
        let due = last.entry(way).or_insert_with(Instant::now);
        *due = (*due).max(Instant::now() + lag);
        let words = words.iter().map(|word| word.to_vec()).collect();
        self.letters.borrow_mut().push(Letter { due: *due, to: way.1, words });
        self.news.notify_one();
    }
}

/// Delivers what is due to those who listen then.
pub async fn carry(world: Rc<World>) {
    loop {
        let next = world.bus.letters.borrow().iter().map(|letter| letter.due).min();
        match next {
            None => world.bus.news.notified().await,
            Some(due) => tokio::select! {
                () = sleep_until(due) => {}
                () = world.bus.news.notified() => {}
            },
        }
        let now = Instant::now();
        // What is due at the same time goes in the order in which it was said.
        let is_due = |letter: &mut Letter| letter.due <= now;
        let mut due: Vec<Letter> = world.bus.letters.borrow_mut().extract_if(.., is_due).collect();
        due.sort_by_key(|letter| letter.due);
        for letter in due {
            let words: Vec<&[u8]> = letter.words.iter().map(Vec::as_slice).collect();
            world.tell(letter.to, &words);
        }
    }
}
