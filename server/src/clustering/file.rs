//! nodes.conf on the disk: one process has it at a time, and a crash leaves the old or the new one whole.
//!
//! It is replaced by renaming, so that the lock goes along: the new file is locked before it gets its name. Who locks a file
//! makes sure that it still has the name.
//!
//! What need not be on the disk at once is written over the old text where both fit one page, which a kill, and a disk that
//! writes whole pages, leave old or new as well. Renaming costs fifty times as much, and a reshard saves five times for each slot.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::text::system_words;

/// nodes.conf, held by this process.
pub struct NodesFile {
    path: PathBuf,
    /// Keeps the lock.
    held: File,
    /// Bytes in it.
    length: usize,
    /// Files that were replaced, which are closed a while later: the last close removes a file, and waits for the disk if it has
    /// not been written yet. Where many are replaced within a moment, as in a reshard, that was most of the time.
    replaced: VecDeque<File>,
}

/// What the kernel writes at once.
const PAGE_BYTES: usize = 4096;
/// Files that were replaced and are kept open.
const REPLACED_MAX: usize = 16;

/// What there is of it at the start.
pub enum Found {
    /// Nothing.
    Nothing,
    /// The file and its text.
    Text(NodesFile, String),
}

fn in_use(path: &Path) -> String {
    format!(
        "Sorry, the cluster configuration file {} is already used by a different Redis Cluster \
         node. Please make sure that different nodes use different cluster configuration files.",
        path.display()
    )
}

fn is_same(held: &File, path: &Path) -> io::Result<bool> {
    let (held, named) = (held.metadata()?, fs::metadata(path)?);
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

impl NodesFile {
    fn of(path: &Path, held: File, length: usize) -> Self {
        Self { path: path.to_owned(), held, length, replaced: VecDeque::new() }
    }

    /// Writes a text over the old one. One that is shorter has empty lines behind it for a moment.
    fn overwrite(&mut self, text: &str) -> io::Result<()> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(bytes.len().max(self.length), b'\n');
        self.held.write_all_at(&bytes, 0)?;
        if bytes.len() > text.len() {
            self.held.set_len(text.len() as u64)?;
        }
        self.length = text.len();
        Ok(())
    }

    /// Looks for the file, and takes it.
    ///
    /// # Errors
    /// The line for the log: another process has it, or the file system's words.
    pub fn open(path: &Path) -> Result<Found, String> {
        let unreadable = |error: io::Error| {
            let shown = path.display();
            format!("Can't open {shown} in order to acquire a lock: {}", system_words(&error))
        };
        loop {
            let held = match File::options().read(true).write(true).open(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
                opened => opened.map_err(unreadable)?,
            };
            match held.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(in_use(path)),
                Err(TryLockError::Error(error)) => {
                    let shown = path.display();
                    return Err(format!("Impossible to lock {shown}: {}", system_words(&error)));
                }
            }
            // Its holder may have put another file in its place before it ended.
            match is_same(&held, path) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(error)),
            }
            let text = fs::read_to_string(path).map_err(|error| {
                let shown = path.display();
                format!("Loading the cluster node config from {shown}: {}", system_words(&error))
            })?;
            return Ok(Found::Text(Self::of(path, held, text.len()), text));
        }
    }

    /// Makes the file, which is not there yet.
    ///
    /// # Errors
    /// The line for the log: another process was quicker, or the file system's words.
    pub fn create(path: &Path, text: &str) -> Result<Self, String> {
        let beside = beside(path);
        let made = write_locked(&beside, text, true).and_then(|held| {
            fs::hard_link(&beside, path)?;
            sync_folder(path)?;
            Ok(held)
        });
        // It has its name, or is of no use.
        let _ = fs::remove_file(&beside);
        match made {
            Ok(held) => Ok(Self::of(path, held, text.len())),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(in_use(path)),
            Err(error) => Err(format!(
                "Can't open {} in order to acquire a lock: {}",
                path.display(),
                system_words(&error)
            )),
        }
    }

    /// Puts a text in the place of the old one; on the disk, if `synced`.
    ///
    /// # Errors
    /// The file system's words; the old text is still there then.
    pub fn save(&mut self, text: &str, synced: bool) -> io::Result<()> {
        let is_short = text.len().max(self.length) <= PAGE_BYTES;
        // Somebody may have moved it away.
        if !synced && is_short && is_same(&self.held, &self.path).unwrap_or(false) {
            return self.overwrite(text);
        }
        let beside = beside(&self.path);
        let held = write_locked(&beside, text, synced).and_then(|held| {
            fs::rename(&beside, &self.path)?;
            Ok(held)
        });
        match held {
            Ok(held) => {
                self.length = text.len();
                self.replaced.push_back(std::mem::replace(&mut self.held, held));
                if self.replaced.len() > REPLACED_MAX {
                    self.replaced.pop_front();
                }
            }
            Err(error) => {
                // The half-written file is of no use; if it cannot be removed either, the first error says why.
                let _ = fs::remove_file(&beside);
                return Err(error);
            }
        }
        if synced { sync_folder(&self.path) } else { Ok(()) }
    }
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{}.tmp", std::process::id()))
}

fn write_locked(path: &Path, text: &str, synced: bool) -> io::Result<File> {
    let mut file = File::create(path)?;
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(text.as_bytes())?;
    if synced {
        file.sync_all()?;
    }
    Ok(file)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_file_also_after_it_was_replaced() {
        let folder = std::env::temp_dir().join(format!("redstart-nodes-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("nodes.conf");
        assert!(matches!(NodesFile::open(&path), Ok(Found::Nothing)));
        let mut held = NodesFile::create(&path, "one\n").expect("made");
        assert!(NodesFile::create(&path, "two\n").is_err());
        let long = "x".repeat(PAGE_BYTES) + "\n";
        for (text, synced) in [
            ("three\n", true),
            ("a longer one\n", false),
            ("short\n", false),
            (&long, false),
            ("short\n", false),
            ("four\n", false),
        ] {
            assert!(NodesFile::open(&path).is_err_and(|line| line.contains("is already used")));
            held.save(text, synced).expect("saved");
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
        fs::remove_file(&path).expect("removed");
        held.save("four\n", false).expect("saved where there is none any more");
        drop(held);
        let Ok(Found::Text(_, text)) = NodesFile::open(&path) else { panic!("not there") };
        assert_eq!(text, "four\n");
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
