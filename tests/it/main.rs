//! Promises to users, one file each, behind one harness. A real server answers over real sockets.

mod harness;
mod scraped;
mod simulated;

mod balancer;
mod batching;
mod bench;
mod container;
mod dashboards;
mod drain;
mod evaluate;
mod first_minutes;
mod forms;
mod free_axis;
mod golden;
mod hang_up;
mod health;
mod hostile;
mod kubernetes;
mod ledger;
mod lifecycle;
mod overload;
mod parity;
mod prometheus;
mod providers;
mod queueing;
mod reload;
mod rooms;
mod routing;
mod scaling;
mod size_input;
mod traces;
mod training;
mod triton;
mod tune;
mod wire;
