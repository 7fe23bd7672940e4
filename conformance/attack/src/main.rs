//! The program `symple-attack`.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program for people, and may end when nobody reads what it says"
)]

#[cfg(target_os = "linux")]
mod command_line;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    command_line::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("no attacks: what a server uses is known from Linux alone");
}
