//! What came of histories: what is never reached proves nothing.

/// What came of histories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    pub elections_won: u64,
    pub manual: u64,
    pub takeovers: u64,
    pub slots_moved: u64,
    pub restarts: u64,
    pub lost_files: u64,
    pub old_files: u64,
    pub forgotten: u64,
    pub resets: u64,
    pub moves: u64,
    pub taken: u64,
    pub packets: u64,
    pub lost: u64,
    pub digest: u64,
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        self.elections_won += other.elections_won;
        self.manual += other.manual;
        self.takeovers += other.takeovers;
        self.slots_moved += other.slots_moved;
        self.restarts += other.restarts;
        self.lost_files += other.lost_files;
        self.old_files += other.old_files;
        self.forgotten += other.forgotten;
        self.resets += other.resets;
        self.moves += other.moves;
        self.taken += other.taken;
        self.packets += other.packets;
        self.lost += other.lost;
        self.digest ^= other.digest;
    }
}
