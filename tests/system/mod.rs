//! The parts of the suite, by what they promise.

mod harness;

mod addresses;
mod admin_key;
mod audit;
mod batch;
mod clients;
mod cloud_events;
mod coded_events;
mod command_line;
mod crash;
mod damaged_log;
mod dynamic;
mod incoming;
mod index;
mod intake_limits;
mod one_base_url;
mod outgoing;
mod protection;
mod public_tls;
mod quarantine;
mod read_your_write;
mod reads;
mod receivers;
mod rejected;
mod resend;
mod rude_receivers;
mod schemas;
mod sdk;
mod secrets;
mod slow_clients;
mod smuggling;
mod source_alerts;
mod source_events;
mod split;
mod split_tls;
