//! What is read from the head of a Linux executable: its kind of machine, its loader, and which of its bytes are needed
//! to run it.
//!
//! Nothing here interprets code or sections: the kernel does not either.

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ReadRef, Result};
use object::{Endianness, FileKind};

/// What the head of an executable says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The absolute path of the loader that must start it; none when it is statically linked.
    pub(crate) interpreter: Option<Vec<u8>>,
    /// The kind of machine, as image formats name it; none when no image format does.
    pub(crate) architecture: Option<&'static str>,
    /// How many of the file's first bytes the kernel and the loader look at.
    pub(crate) loaded: u64,
    /// Where the head says where its sections are, which only tools look at.
    sections: SectionFields,
}

/// The byte ranges of the fields of a head that tell where the sections are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SectionFields([std::ops::Range<usize>; 2]);

/// Where `e_shoff` is, and `e_shnum` with `e_shstrndx`.
const SECTIONS_32: SectionFields = SectionFields([0x20..0x24, 0x30..0x34]);
const SECTIONS_64: SectionFields = SectionFields([0x28..0x30, 0x3c..0x40]);

impl Head {
    /// Reads the head of an executable.
    pub(crate) fn read<'data>(data: impl ReadRef<'data>) -> Result<Self> {
        match FileKind::parse(data)? {
            FileKind::Elf32 => head(FileHeader32::<Endianness>::parse(data)?, data, SECTIONS_32),
            // What is no executable of Linux at all is refused by the same parser.
            _ => head(FileHeader64::<Endianness>::parse(data)?, data, SECTIONS_64),
        }
    }

    /// Leaves out what only tools look at: section headers, and what lies behind the last segment (symbols, debug
    /// information).
    pub(crate) fn strip(&self, mut program: Vec<u8>) -> Vec<u8> {
        program.truncate(usize::try_from(self.loaded).unwrap_or(usize::MAX));
        for field in &self.sections.0 {
            if let Some(bytes) = program.get_mut(field.clone()) {
                bytes.fill(0);
            }
        }
        program
    }
}

fn head<'data, Elf: FileHeader>(
    header: &Elf,
    data: impl ReadRef<'data>,
    sections: SectionFields,
) -> Result<Head> {
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let table = header.e_phoff(endian).into()
        + u64::from(header.e_phentsize(endian)) * u64::from(header.e_phnum(endian));
    let mut head = Head {
        interpreter: None,
        architecture: architecture(header.e_machine(endian)),
        loaded: table.max(u64::from(header.e_ehsize(endian))),
        sections,
    };
    for segment in segments {
        let end = segment.p_offset(endian).into().saturating_add(segment.p_filesz(endian).into());
        head.loaded = head.loaded.max(end);
        if let Some(path) = segment.interpreter(endian, data)? {
            head.interpreter = Some(path.to_vec());
        }
    }
    Ok(head)
}

fn architecture(machine: elf::Machine) -> Option<&'static str> {
    match machine {
        elf::EM_X86_64 => Some("amd64"),
        elf::EM_AARCH64 => Some("arm64"),
        elf::EM_ARM => Some("arm"),
        elf::EM_386 => Some("386"),
        elf::EM_RISCV => Some("riscv64"),
        elf::EM_S390 => Some("s390x"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stripped_still_runs() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let head = Head::read(&bytes[..]).unwrap();
        assert!(head.interpreter.as_ref().is_some_and(|path| path.starts_with(b"/")), "{head:?}");
        let stripped = head.strip(bytes.clone());
        assert!(stripped.len() < bytes.len(), "a test binary has symbols");
        assert_eq!(Head::read(&stripped[..]).unwrap(), head);

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, stripped).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        // Another test's child that was forked meanwhile may still hold the file that was written.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let listed = loop {
            match std::process::Command::new(&path).arg("--list").output() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    assert!(std::time::Instant::now() < until, "{error}");
                }
                listed => break listed.unwrap(),
            }
        };
        assert!(String::from_utf8_lossy(&listed.stdout).contains("what_is_stripped_still_runs"));
    }

    #[test]
    fn what_is_no_executable_is_refused() {
        for bytes in
            [&b""[..], b"#!/bin/sh\nexit 0\n", b"\x7fELF\x02\x01\x01 and no more than that, whatever"]
        {
            assert!(Head::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
