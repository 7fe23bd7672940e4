//! The program `symple-cluster`: how a cluster recovers, measured with real processes.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program for people, and may end when nobody reads what it says"
)]

#[cfg(target_os = "linux")]
mod cases;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod command_line;
#[cfg(target_os = "linux")]
mod fault;
#[cfg(target_os = "linux")]
mod node;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod proxy;
#[cfg(target_os = "linux")]
mod redis_server;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod teller;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    command_line::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("nothing is measured: what a process uses is known from Linux alone");
}
