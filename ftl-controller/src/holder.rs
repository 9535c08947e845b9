//! Who listens on an address that is taken, as far as this machine tells.
//!
//! Linux says it in two steps: `/proc/net/tcp` names the inode of each listening socket, and `/proc/PID/fd` names the
//! sockets of each process that we may look at. Elsewhere nobody is named.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// A socket that listens, in the kernel's table.
const LISTENING: &str = "0A";
/// The columns of a socket's address, its state and its inode.
const COLUMNS: [usize; 3] = [1, 3, 9];

/// The process that listens there, in words: its number, and its name.
pub(crate) fn of(address: SocketAddr) -> Option<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
    let inodes: Vec<u64> = tables.flat_map(|table| listeners(&table, address)).collect();
    let pid = processes().find(|pid| holds(*pid, &inodes))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{pid} ({})", name.trim()))
}

/// The inodes of the sockets in this table that listen where `address` would.
fn listeners(table: &str, address: SocketAddr) -> Vec<u64> {
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [local, state, inode] = COLUMNS.map(|column| columns.get(column).copied().unwrap_or_default());
        (state == LISTENING && is_at(local, address)).then(|| inode.parse().ok())?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// Whether `local`, as `0100007F:22BC`, is this address, or all addresses with its port.
fn is_at(local: &str, address: SocketAddr) -> bool {
    let Some((host, port)) = local.split_once(':') else { return false };
    let everywhere = host.bytes().all(|byte| byte == b'0');
    u16::from_str_radix(port, 16) == Ok(address.port()) && (everywhere || host == in_hex(address.ip()))
}

/// An address as the kernel writes it: words of four bytes, each in the order of this machine.
fn in_hex(ip: IpAddr) -> String {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?)));
    words.map(|word| format!("{word:08X}")).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holds(pid: u32, inodes: &[u64]) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets.into_iter().any(|target| {
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        inode.and_then(|inode| inode.parse().ok()).is_some_and(|inode| inodes.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:22BC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100\n\
            1: 0100007F:22BC 0100007F:9000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100\n\
            2: 00000000:22BC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100\n\
            3: 0200007F:22BC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0 100\n\
            4: broken\n";
        assert_eq!(listeners(table, "127.0.0.1:8892".parse().unwrap()), [4711, 4713]);
        assert_eq!(listeners(table, "127.0.0.1:8893".parse().unwrap()), [] as [u64; 0]);
        assert_eq!(in_hex("::1".parse().unwrap()), "00000000000000000000000001000000");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let holder = of(listener.local_addr().unwrap()).unwrap();
            assert!(holder.starts_with(&format!("{} (", std::process::id())), "{holder}");
        }
    }
}
