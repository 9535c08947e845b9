//! Runners in containers, through the Docker Engine: no registry, no image build, no published port.
//!
//! Reading order: [`closure`] (what a program needs to run elsewhere).

mod elf;

pub mod closure;
