//! The log as a whole: accept, recovery, damage, faults, bounds.

mod accept;
mod audit;
mod commands;
mod damage;
mod faults;
mod index;
mod lines;
mod made;
mod recovery;
pub(crate) mod support;
mod tail;
