//! Promises to users, one file each, behind one harness. A real server answers over real sockets.

mod harness;

mod forms;
mod golden;
mod hostile;
