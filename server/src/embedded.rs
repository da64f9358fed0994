//! Engines inside another program: each on a thread of its own, reached over a Unix socket in a private folder.
//!
//! Data is in memory only, and is gone with the program.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use redstart_common::net::Address;
use tokio::sync::oneshot;

use crate::engine::{Engine, Shell};
use crate::server::{self, Asked, Server};
use crate::settings::Settings;

/// A running engine. Dropping it ends the engine and removes its socket.
pub struct EmbeddedHandle {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts engines.
pub struct Embedded;

impl Embedded {
    /// Starts an engine; `index` tells engines of one program apart.
    ///
    /// # Errors
    /// When its folder, socket or thread cannot be made.
    pub fn start(index: usize) -> io::Result<EmbeddedHandle> {
        use std::os::unix::fs::DirBuilderExt;
        let unique = crate::engine::random_hex();
        let folder = std::env::temp_dir().join(format!("redstart-{}", &unique[..12]));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let path = folder.join(format!("engine-{index}.sock"));
        let settings = Settings {
            port: 0,
            unixsocket: path.display().to_string(),
            save: Vec::new(),
            ..Settings::default()
        };
        let bound = server::bind(&settings).map_err(|error| io::Error::other(error.warning()))?;
        let (stop, stopped) = oneshot::channel();
        let (report, started) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name(format!("engine-{index}")).spawn(move || {
                let mut engine = Engine::new(settings, crate::commands::handlers());
                engine.core.shell = Shell { embedded: true, ..Shell::default() };
                // The starter waits for this; if it is gone there is nobody to serve.
                if report.send(()).is_err() {
                    return;
                }
                let stopped = std::cell::RefCell::new(Some(stopped));
                let until = || {
                    let stopped = stopped.take();
                    async move {
                        match stopped {
                            // Dropping the handle ends the engine as well as asking does.
                            Some(stopped) => _ = stopped.await,
                            None => std::future::pending().await,
                        }
                        Asked::Program
                    }
                };
                if let Err(error) = Server::run(engine, bound, until) {
                    redstart_common::log!(Warning, "engine {index} failed: {error}");
                }
            })?;
        started.recv().map_err(|_| io::Error::other("the engine's thread ended at once"))?;
        Ok(EmbeddedHandle { path, stop: Some(stop), thread: Some(thread) })
    }
}

impl EmbeddedHandle {
    /// Where the engine listens.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::Unix { path: self.path.clone(), mode: None }
    }
}

impl Drop for EmbeddedHandle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the engine has been printed already.
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
        if let Some(folder) = self.path.parent() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn an_engine_serves_and_leaves_nothing_behind() {
        let engine = Embedded::start(0).expect("an engine");
        let Address::Unix { path, .. } = engine.address() else { panic!("a Unix socket") };
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.write_all(b"SET k v\r\nGET k\r\nQUIT\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers and closes");
        assert_eq!(answer, "+OK\r\n$1\r\nv\r\n+OK\r\n");
        drop(engine);
        assert!(!path.exists());
    }
}
