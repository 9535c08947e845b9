//! The floor: an echo over a Unix socket, with nothing of ours in it.

use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use benches::processes::wait_for_file;

/// The server's side, in a process of its own.
pub(crate) fn serve(socket: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = UnixListener::bind(socket).unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read) = stream.read(&mut buffer).await
                    && read > 0
                    && stream.write_all(&buffer[..read]).await.is_ok()
                {}
            });
        }
    });
}

/// A running echo. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) child: Child,
    socket: String,
}

impl Floor {
    pub(crate) fn start(directory: &std::path::Path) -> Self {
        let socket = directory.join("floor").to_str().unwrap().to_owned();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["floor", &socket])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_file(std::path::Path::new(&socket));
        Self { child, socket }
    }

    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One echo.
pub(crate) async fn echo(stream: &mut UnixStream, sent: &[u8]) {
    stream.write_all(sent).await.unwrap();
    let mut read = vec![0; sent.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, sent);
}
