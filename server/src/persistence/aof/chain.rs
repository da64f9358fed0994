//! The files of the log on the disk: what the manifest decides is done here, in an order that a crash cannot spoil.
//!
//! A file that a manifest names is on the disk, with its name, before the manifest is; a file that no manifest needs is
//! removed after. Where Redis takes a step back by removing files that a manifest on the disk may name already (its
//! folder could not be synced), the files stay here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redstart_common::log;

use super::manifest::{Manifest, ManifestError, Names};
use crate::processors::{self, Work};
use crate::text::system_words;

/// Whether writes are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No log.
    Off,
    /// All writes are logged.
    On,
    /// The log was switched on while the server runs: it counts once its first rewrite is done.
    AwaitRewrite,
}

/// Why the files could not be brought into the state that is wanted.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The manifest cannot be read as one.
    #[error("{}", .0.what)]
    Manifest(ManifestError),
    /// The disk; redis-server's words with the system's.
    #[error("{0}")]
    Disk(String),
}

impl ChainError {
    /// The lines for the log, all warnings.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        match self {
            Self::Manifest(error) => error.report(),
            Self::Disk(line) => vec![line.clone()],
        }
    }
}

fn disk(what: String, error: &io::Error) -> ChainError {
    ChainError::Disk(format!("{what}: {}", system_words(error)))
}

/// An increment, open for writing at its end.
#[derive(Debug)]
pub struct Opened {
    /// The file, opened for appending.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
}

/// What a rewrite has come to.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Size of the new base in bytes.
    pub base_bytes: u64,
}

/// The files of the log, as the manifest has them.
#[derive(Debug)]
pub struct Chain {
    /// Where the single file of old lies.
    above: PathBuf,
    folder_name: String,
    names: Names,
    manifest: Manifest,
    /// The manifest on the disk may be another.
    is_dirty: bool,
}

impl Chain {
    /// Reads the manifest in the folder `folder_name` (Redis's `appenddirname`) of `above` (its `dir`). Without folder
    /// or manifest there are no files.
    ///
    /// # Errors
    /// When there is a manifest that cannot be read.
    pub fn read(above: &Path, folder_name: &str, names: Names) -> Result<Self, ChainError> {
        let mut chain = Self {
            above: above.to_owned(),
            folder_name: folder_name.to_owned(),
            names,
            manifest: Manifest::default(),
            is_dirty: false,
        };
        let path = chain.path(&chain.names.manifest());
        if !chain.folder().is_dir() {
            log!(Debug, "The AOF directory {folder_name} doesn't exist");
        } else if !path.is_file() {
            log!(Debug, "The AOF manifest file {} doesn't exist", chain.names.manifest());
        } else {
            chain.manifest = read_manifest(&path)?;
        }
        Ok(chain)
    }

    /// The files.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How the files are called.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.above.join(&self.folder_name)
    }

    /// Moves the single file that Redis had before version 7 into the folder, as the base, where there is one and the
    /// manifest does not say otherwise. To be done before loading.
    ///
    /// # Errors
    /// The disk's. Nothing is lost: the next start tries again.
    pub fn take_over_single(&mut self) -> Result<(), ChainError> {
        let name = self.names.single().to_owned();
        let (old, new) = (self.above.join(&name), self.path(&name));
        let exists = self.folder().is_dir();
        if !old.is_file() || !self.manifest.wants_single(&self.names, exists, new.is_file()) {
            return Ok(());
        }
        if new.is_file() {
            // Redis would stop on an assertion here, or replace one of two files that may both hold data.
            return Err(ChainError::Disk(format!(
                "Error trying to move the old AOF file {name} into dir {}: there is a file of that name",
                self.folder_name
            )));
        }
        self.create_folder()?;
        let mut manifest = self.manifest.clone();
        manifest.adopt_single(&self.names);
        self.replace(manifest)?;
        fs::rename(&old, &new).map_err(|error| {
            let folder = &self.folder_name;
            disk(format!("Error trying to move the old AOF file {name} into dir {folder}"), &error)
        })?;
        self.sync_folder()?;
        log!(
            Notice,
            "Successfully migrated an old-style AOF file ({name}) into the AOF directory ({}).",
            self.folder_name
        );
        Ok(())
    }

    /// Opens the increment to go on with, after loading. Where there are no files, `write_base` first writes what the
    /// server holds (little or nothing) to the path it is given; what it leaves there must be whole and synced.
    ///
    /// # Errors
    /// The disk's; the server cannot start then.
    pub fn open(
        &mut self,
        rdb_base: bool,
        write_base: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<Opened, ChainError> {
        self.create_folder()?;
        let mut manifest = self.manifest.clone();
        if manifest.is_empty() {
            let base = manifest.next_base(&self.names, rdb_base).clone();
            write_base(&self.folder().join(base.path())).map_err(|error| {
                disk("Write error writing append only file on disk".into(), &error)
            })?;
            log!(Notice, "Creating AOF base file {} on server start", base.shown());
        }
        let is_new = manifest.incrs.is_empty();
        let entry = match manifest.last_incr() {
            Some(entry) => entry.clone(),
            None => manifest.next_incr(&self.names).clone(),
        };
        let opened = self.open_at(&self.folder().join(entry.path()), &entry.shown(), false)?;
        if manifest != self.manifest || self.is_dirty {
            self.replace(manifest)?;
        }
        let how = if is_new { "Creating" } else { "Opening" };
        log!(Notice, "{how} AOF incr file {} on server start", entry.shown());
        Ok(opened)
    }

    /// Opens the increment for the writes from now on, as a rewrite begins; nothing while there is no log. While the log
    /// waits for its first rewrite, the manifest does not learn of it yet.
    ///
    /// # Errors
    /// The disk's. The increment so far stays the one to write to.
    pub fn begin_rewrite(&mut self, state: State) -> Result<Option<Opened>, ChainError> {
        self.create_folder()?;
        if state == State::Off {
            return Ok(None);
        }
        let mut manifest = self.manifest.clone();
        let (path, shown) = match state {
            State::AwaitRewrite => {
                let name = self.names.incr_beside();
                (self.path(&name), name)
            }
            _ => {
                let entry = manifest.next_incr(&self.names);
                (self.above.join(&self.folder_name).join(entry.path()), entry.shown())
            }
        };
        let opened = self.open_at(&path, &shown, true)?;
        if state == State::On {
            let before = self.manifest.clone();
            if let Err(error) = self.replace(manifest) {
                // Both manifests name the increment that goes on; the old one is put back as far as the disk allows,
                // so that an empty file does not stand behind it.
                if self.manifest != before {
                    let _ = self.replace(before.clone());
                    self.manifest = before;
                    self.is_dirty = true;
                }
                return Err(error);
            }
        }
        log!(Notice, "Creating AOF incr file {shown} on background rewrite");
        Ok(Some(opened))
    }

    /// A rewrite has put the data, whole and synced, into the file `written`: it becomes the base, and what it replaces
    /// becomes history. `remove_history` is for afterwards.
    ///
    /// # Errors
    /// The disk's. The files before the rewrite still hold everything.
    pub fn finish_rewrite(
        &mut self,
        state: State,
        rdb_base: bool,
        written: &Path,
    ) -> Result<Rewritten, ChainError> {
        let mut manifest = self.manifest.clone();
        let base = manifest.next_base(&self.names, rdb_base).clone();
        let base_path = self.folder().join(base.path());
        fs::rename(written, &base_path).map_err(|error| {
            let (from, to) = (written.display(), base_path.display());
            disk(
                format!("Error trying to rename the temporary AOF base file {from} into {to}"),
                &error,
            )
        })?;
        log!(
            Notice,
            "Successfully renamed the temporary AOF base file {} into {}",
            written.display(),
            base.shown()
        );
        let mut renamed = vec![base_path.clone()];
        if state == State::AwaitRewrite {
            let name = self.names.incr_beside();
            let incr = manifest.next_incr(&self.names).clone();
            let (from, to) = (self.path(&name), self.folder().join(incr.path()));
            if let Err(error) = fs::rename(&from, &to) {
                remove(&renamed);
                let (from, to) = (from.display(), to.display());
                return Err(disk(
                    format!("Error trying to rename the temporary AOF incr file {from} into {to}"),
                    &error,
                ));
            }
            let incr = incr.shown();
            log!(Notice, "Successfully renamed the temporary AOF incr file {name} into {incr}");
            renamed.push(to);
        }
        manifest.retire_incrs(state != State::Off);
        let before = self.manifest.clone();
        if let Err(error) = self.replace(manifest) {
            // With the new manifest in its place, though perhaps not for good, all files stay.
            if self.manifest == before {
                remove(&renamed);
            }
            return Err(error);
        }
        let base_bytes = fs::metadata(&base_path).map_or(0, |found| found.len());
        Ok(Rewritten { base_bytes })
    }

    /// A rewrite has failed: removes the increment that only it would have needed.
    pub fn fail_rewrite(&self, state: State) {
        if state == State::AwaitRewrite {
            let name = self.names.incr_beside();
            log!(Notice, "Removing the temp incr aof file {name} in the background");
            remove(&[self.path(&name)]);
        }
    }

    /// Removes what rewrites have replaced, unless the setting `aof-disable-auto-gc` keeps it, and says so in the
    /// manifest.
    ///
    /// # Errors
    /// The disk's, of no consequence: the next call does it.
    pub fn remove_history(&mut self) -> Result<(), ChainError> {
        if self.manifest.history.is_empty() {
            return Ok(());
        }
        if self.is_dirty {
            // The files go once it is certain that no manifest needs them.
            self.replace(self.manifest.clone())?;
        }
        let mut manifest = self.manifest.clone();
        let mut paths = Vec::new();
        for entry in manifest.history.drain(..) {
            log!(Notice, "Removing the history file {} in the background", entry.shown());
            paths.push(self.folder().join(entry.path()));
        }
        remove(&paths);
        self.replace(manifest)
    }

    /// Bytes of all files with data.
    ///
    /// # Errors
    /// When one of them is missing or cannot be looked at.
    pub fn bytes_total(&self) -> Result<u64, ChainError> {
        let mut total = 0_u64;
        for entry in self.manifest.parts() {
            let found = fs::metadata(self.folder().join(entry.path())).map_err(|error| {
                let name = entry.shown();
                disk(format!("Unable to obtain the AOF file {name} length. stat"), &error)
            })?;
            total = total.saturating_add(found.len());
        }
        Ok(total)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn create_folder(&self) -> Result<(), ChainError> {
        match fs::create_dir(self.folder()) {
            Err(error)
                if error.kind() != io::ErrorKind::AlreadyExists || !self.folder().is_dir() =>
            {
                let folder = &self.folder_name;
                Err(disk(format!("Can't open or create append-only dir {folder}"), &error))
            }
            _ => Ok(()),
        }
    }

    fn open_at(&self, path: &Path, shown: &str, empty: bool) -> Result<Opened, ChainError> {
        let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
        let opened = file.and_then(|file| {
            if empty {
                file.set_len(0)?;
            }
            let size = file.metadata()?.len();
            Ok(Opened { file, size })
        });
        opened.map_err(|error| disk(format!("Can't open the append-only file {shown}"), &error))
    }

    fn sync_folder(&self) -> Result<(), ChainError> {
        let synced = File::open(self.folder()).and_then(|folder| folder.sync_all());
        synced.map_err(|error| {
            let path = self.path(&self.names.manifest());
            disk(format!("Fail to fsync AOF directory {}", path.display()), &error)
        })
    }

    /// Puts a manifest in the place of the one there is, on the disk and here. After an error it is here only if it is
    /// on the disk too, though perhaps not for good.
    fn replace(&mut self, manifest: Manifest) -> Result<(), ChainError> {
        let (name, beside) = (self.names.manifest(), self.names.manifest_beside());
        let beside_path = self.path(&beside);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        let mut file = options
            .open(&beside_path)
            .map_err(|error| disk(format!("Can't open the AOF manifest file {beside}"), &error))?;
        file.write_all(&manifest.print()).map_err(|error| {
            disk(format!("Error trying to write the temporary AOF manifest file {beside}"), &error)
        })?;
        file.sync_data()
            .map_err(|error| disk(format!("Fail to fsync the temp AOF file {beside}"), &error))?;
        // The names of the files that it speaks of come first.
        self.sync_folder()?;
        fs::rename(&beside_path, self.path(&name)).map_err(|error| {
            disk(
                format!(
                    "Error trying to rename the temporary AOF manifest file {beside} into {name}"
                ),
                &error,
            )
        })?;
        self.manifest = manifest;
        self.is_dirty = true;
        self.sync_folder()?;
        self.is_dirty = false;
        Ok(())
    }
}

/// Reads the manifest at `path`.
///
/// # Errors
/// What redis-server refuses too.
pub fn read_manifest(path: &Path) -> Result<Manifest, ChainError> {
    let text = File::open(path).map_err(|error| {
        let path = path.display();
        disk(format!("Fatal error: can't open the AOF manifest file {path} for reading"), &error)
    })?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut { text }, &mut bytes).map_err(|_| {
        ChainError::Manifest(ManifestError { at: None, what: "Read AOF manifest failed" })
    })?;
    Manifest::parse(&bytes).map_err(ChainError::Manifest)
}

/// Removes files. What they occupy is given back on another thread, since that takes long for large files.
fn remove(paths: &[PathBuf]) {
    let open: Vec<_> = paths.iter().filter_map(|path| File::open(path).ok()).collect();
    for path in paths {
        // One that is gone already is no concern.
        let _ = fs::remove_file(path);
    }
    let close = std::thread::Builder::new().name("aof_close".into());
    // Without a thread they are closed here.
    let _ = close.spawn(move || {
        processors::enter(Work::Background);
        drop(open);
    });
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
