//! Engines inside another program: each on a thread of its own, reached over a Unix socket in a private folder.
//!
//! With a folder for its data an engine keeps snapshots there, by the default save points and at its end; without one its
//! data is in memory only, and gone with the program.

use std::io;
use std::path::{Path, PathBuf};
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
    data: Option<PathBuf>,
    started: mpsc::Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts engines.
pub struct Embedded;

impl Embedded {
    /// Starts an engine; `index` tells engines of one program apart. Its data lies in the folder `data`, if there is one,
    /// which belongs to it alone.
    ///
    /// # Errors
    /// When its folder, socket or thread cannot be made.
    pub fn start(index: usize, data: Option<&Path>) -> io::Result<EmbeddedHandle> {
        use std::os::unix::fs::DirBuilderExt;
        let unique = crate::engine::random_hex();
        let folder = std::env::temp_dir().join(format!("redstart-{}", &unique[..12]));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let path = folder.join(format!("engine-{index}.sock"));
        let mut settings =
            Settings { port: 0, unixsocket: path.display().to_string(), ..Settings::default() };
        if data.is_none() {
            settings.save.clear();
        }
        let data = data.map(Path::to_owned);
        let shown = data.clone();
        let bound = server::bind(&settings).map_err(|error| io::Error::other(error.warning()))?;
        let (stop, stopped) = oneshot::channel();
        let (report, started) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name(format!("engine-{index}")).spawn(move || {
                let mut engine = Engine::new(settings, crate::commands::handlers());
                engine.core.shell = Shell {
                    embedded: true,
                    folder: data.unwrap_or_default(),
                    ready: Some(report),
                    ..Shell::default()
                };
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
        Ok(EmbeddedHandle { path, data: shown, stop: Some(stop), started, thread: Some(thread) })
    }
}

impl EmbeddedHandle {
    /// Waits until the engine has loaded its data.
    ///
    /// # Errors
    /// When it cannot; the log says why.
    pub fn wait_until_loaded(&self) -> io::Result<()> {
        self.started.recv().map_err(|_| match &self.data {
            Some(folder) => io::Error::other(format!(
                "an engine cannot load its data from {}",
                folder.display()
            )),
            None => io::Error::other("an engine's thread ended at once"),
        })
    }

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
        let engine = Embedded::start(0, None).expect("an engine");
        engine.wait_until_loaded().expect("it loads nothing");
        let Address::Unix { path, .. } = engine.address() else { panic!("a Unix socket") };
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.write_all(b"SET k v\r\nGET k\r\nQUIT\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers and closes");
        assert_eq!(answer, "+OK\r\n$1\r\nv\r\n+OK\r\n");
        drop(engine);
        assert!(!path.exists());
    }

    #[test]
    fn data_in_a_folder_is_there_again() {
        let folder =
            std::env::temp_dir().join(format!("redstart-test-{}", crate::engine::random_hex()));
        std::fs::create_dir(&folder).expect("a folder");
        let talk = |request: &str| {
            let engine = Embedded::start(0, Some(&folder)).expect("an engine");
            engine.wait_until_loaded().expect("it loads");
            let Address::Unix { path, .. } = engine.address() else { panic!("a Unix socket") };
            let mut stream = UnixStream::connect(&path).expect("it listens");
            stream.write_all(request.as_bytes()).expect("written");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it answers and closes");
            answer
        };
        assert_eq!(talk("SET k v\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
        assert_eq!(talk("GET k\r\nQUIT\r\n"), "$1\r\nv\r\n+OK\r\n");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
