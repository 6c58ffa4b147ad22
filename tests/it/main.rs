//! Promises to users, one file each, behind one harness. A real server answers over real sockets.

#![allow(
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and the environment says what it must not lack"
)]

#[macro_use]
mod runner;

mod frames;
mod harness;
mod issuer;
mod onnx;
mod scraped;
mod siege;
mod signing_key;
mod simulated;
mod sockets;
mod source;

mod access;
mod balancer;
mod batching;
mod bench;
mod cgroups;
mod connections;
mod container;
mod dashboards;
mod docs;
mod drain;
mod evaluate;
mod fairness;
mod first_minutes;
mod forms;
mod free_axis;
mod golden;
mod grpc;
mod hang_up;
mod health;
mod hostile;
mod hostile_bodies;
mod hostile_cves;
mod hostile_framing;
mod hostile_grpc;
mod hostile_windows;
mod kubernetes;
mod ledger;
mod lifecycle;
mod limits;
mod log_reader;
mod memory;
mod model_files;
mod outcomes;
mod overload;
mod own_machine;
mod parity;
mod privacy;
mod prometheus;
mod providers;
mod queueing;
mod redact;
mod reload;
mod replicas;
mod rooms;
mod routing;
mod scaling;
mod simulate;
mod size_input;
mod supply_chain;
mod tls;
mod tokens;
mod traces;
mod training;
mod triton;
mod tune;
mod ultralytics;
mod wire;

fn main() -> std::process::ExitCode {
    let files = [
        access::tests(),
        balancer::tests(),
        batching::tests(),
        bench::tests(),
        cgroups::tests(),
        connections::tests(),
        container::tests(),
        dashboards::tests(),
        docs::tests(),
        drain::tests(),
        evaluate::tests(),
        fairness::tests(),
        first_minutes::tests(),
        forms::tests(),
        free_axis::tests(),
        golden::tests(),
        grpc::tests(),
        hang_up::tests(),
        health::tests(),
        hostile::tests(),
        hostile_bodies::tests(),
        hostile_cves::tests(),
        hostile_framing::tests(),
        hostile_grpc::tests(),
        hostile_windows::tests(),
        kubernetes::tests(),
        ledger::tests(),
        lifecycle::tests(),
        log_reader::tests(),
        memory::tests(),
        limits::tests(),
        model_files::tests(),
        outcomes::tests(),
        overload::tests(),
        own_machine::tests(),
        parity::tests(),
        privacy::tests(),
        prometheus::tests(),
        providers::tests(),
        queueing::tests(),
        redact::tests(),
        reload::tests(),
        replicas::tests(),
        rooms::tests(),
        routing::tests(),
        scaling::tests(),
        simulate::tests(),
        size_input::tests(),
        supply_chain::tests(),
        tls::tests(),
        tokens::tests(),
        traces::tests(),
        training::tests(),
        triton::tests(),
        tune::tests(),
        ultralytics::tests(),
        wire::tests(),
    ];
    runner::main(files.into_iter().flatten().collect())
}
