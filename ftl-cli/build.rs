//! Tells the binary which target it is built for: what runs beside it must be built for the same.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=FTL_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
