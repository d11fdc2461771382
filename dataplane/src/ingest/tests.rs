//! The public listener as a client sees it: a real one on loopback, with a control plane that
//! the test plays.

mod late;
mod proxy;
mod proxy_faults;
mod support;
mod threads;
