//! The end of a turn for those who cache what they read.

use super::Core;

impl Core {
    /// The end of a turn, when no client is being served: broadcasts go out, and too many keys are forgotten.
    pub fn end_turn_of_tracking(&mut self) {
        if self.tracking.is_idle() {
            return;
        }
        self.tracking.tell_pending(&mut self.clients, None);
        self.tracking.broadcast(&mut self.clients);
        self.tracking.make_room(&mut self.clients, self.settings.tracking_table_max_keys);
    }
}
