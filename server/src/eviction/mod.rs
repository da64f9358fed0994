//! Giving memory back when there is too little: keys by a policy, clients that take too much.

pub mod candidates;
pub mod clients;
pub mod keys;
