//! `cowlog serve`: the real binary, asked over real sockets.

mod changes;
mod kills;
mod limits;
mod restores;
mod routes;
mod served;
mod signals;
mod streams;
