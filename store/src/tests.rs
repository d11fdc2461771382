//! The log as a whole: accept, recovery, damage, faults, bounds.

mod accept;
mod audit;
mod damage;
mod faults;
mod index;
mod made;
mod recovery;
mod support;
mod tail;
