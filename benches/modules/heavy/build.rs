//! Writes the ballast: bytes that no linker can leave out and no disk can compress away.

fn main() -> std::io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let ballast: Vec<u8> = (0..6_500_000_u32)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| std::io::Error::other("cargo gives OUT_DIR"))?;
    std::fs::write(std::path::Path::new(&out).join("ballast"), ballast)?;
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
