//! The index: what lists say is what a plain look through all events says, whatever happened to
//! the index in between.

mod against_model;
mod model;
mod while_writing;
