//! The file of a save: it has its name once all is on the disk, and before that the old one has it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// Bytes after which they are asked to be on the disk, so that the last sync has little to do.
const SYNC_BYTES: usize = 4 << 20;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveStep {
    /// The temporary file was made.
    Open,
    /// Bytes were written.
    Write,
    /// The bytes were brought to the disk.
    Sync,
    /// The file was given its name.
    Rename,
    /// The folder was brought to the disk.
    SyncFolder,
}

/// Why a file was not saved. The temporary file is gone, and what had the name before still has it; but after
/// [`SaveStep::SyncFolder`] it is the new one.
#[derive(Debug)]
pub struct SaveError {
    /// What was being done.
    pub step: SaveStep,
    /// The temporary file.
    pub temporary: PathBuf,
    /// The name it should have had.
    pub target: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

impl std::fmt::Display for SaveError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = match self.source.raw_os_error() {
            Some(number) => Errno::from_raw(number).desc().to_owned(),
            None => self.source.to_string(),
        };
        let folder = self.temporary.parent().unwrap_or(Path::new("")).display();
        let name = Path::new(self.temporary.file_name().unwrap_or_default()).display();
        let step = match self.step {
            SaveStep::Open => {
                return write!(
                    out,
                    "Failed opening the temp RDB file {name} (in server root dir {folder}) for saving: {reason}"
                );
            }
            SaveStep::Rename => {
                return write!(
                    out,
                    "Error moving temp DB file {name} on the final destination {} (in server root dir {folder}): {reason}",
                    Path::new(self.target.file_name().unwrap_or_default()).display()
                );
            }
            SaveStep::Write => "rdbSaveRio",
            SaveStep::Sync => "fsync",
            SaveStep::SyncFolder => "fsyncFileDir",
        };
        write!(out, "Write error saving DB on disk({step}): {reason}")
    }
}

impl std::error::Error for SaveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A file that is being saved. Dropped before [`SaveFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct SaveFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    syncs_on_the_way: bool,
    unsynced: usize,
    written: u64,
    is_named: bool,
}

impl SaveFile {
    /// Begins to save `target`: into `temp-<pid>.rdb` in its folder. `syncs_on_the_way` is `rdb-save-incremental-fsync`.
    ///
    /// # Errors
    /// When the temporary file cannot be made.
    pub fn create(target: &Path, syncs_on_the_way: bool) -> Result<Self, SaveError> {
        let temporary = target.with_file_name(format!("temp-{}.rdb", std::process::id()));
        Self::create_as(temporary, target, syncs_on_the_way)
    }

    /// As [`SaveFile::create`], with another name for the time being, which must lie in the same file system.
    ///
    /// # Errors
    /// When the temporary file cannot be made.
    pub fn create_as(
        temporary: PathBuf,
        target: &Path,
        syncs_on_the_way: bool,
    ) -> Result<Self, SaveError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o666);
        match options.open(&temporary) {
            Ok(file) => Ok(Self {
                file,
                temporary,
                target: target.to_owned(),
                syncs_on_the_way,
                unsynced: 0,
                written: 0,
                is_named: false,
            }),
            Err(source) => Err(SaveError {
                step: SaveStep::Open,
                temporary,
                target: target.to_owned(),
                source,
            }),
        }
    }

    fn failed(&self, step: SaveStep, source: io::Error) -> SaveError {
        SaveError { step, temporary: self.temporary.clone(), target: self.target.clone(), source }
    }

    /// Where it is written before it has its name.
    #[must_use]
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Bytes that were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes more.
    ///
    /// # Errors
    /// When the bytes cannot be written or brought to the disk; the save is lost then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        if !self.syncs_on_the_way {
            return self.write_step(bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(SYNC_BYTES - self.unsynced));
            self.write_step(now)?;
            self.unsynced += now.len();
            rest = later;
            if self.unsynced == SYNC_BYTES {
                self.file.sync_data().map_err(|error| self.failed(SaveStep::Sync, error))?;
                self.unsynced = 0;
            }
        }
        Ok(())
    }

    fn write_step(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        self.file.write_all(bytes).map_err(|error| self.failed(SaveStep::Write, error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Brings all to the disk and gives the file its name.
    ///
    /// # Errors
    /// When one of the steps fails.
    pub fn commit(mut self) -> Result<(), SaveError> {
        self.file.sync_all().map_err(|error| self.failed(SaveStep::Sync, error))?;
        fs::rename(&self.temporary, &self.target)
            .map_err(|error| self.failed(SaveStep::Rename, error))?;
        self.is_named = true;
        let folder = match self.target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.failed(SaveStep::SyncFolder, error))
    }
}

impl Drop for SaveFile {
    fn drop(&mut self) {
        if !self.is_named {
            // The save has failed or was given up: that this fails too changes nothing.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
