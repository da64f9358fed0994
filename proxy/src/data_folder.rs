//! The folder in which the engines of a proxy without a configuration keep their data.
//!
//! ```text
//!   redstart-data/ │ lock       held while a process uses the folder
//!                  │ engines    how many engines there are: keys stay where they are, whatever machine comes next
//!                  │ engine-0/  what the first keeps …
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// The folder's name, in the working directory.
pub const DEFAULT: &str = "redstart-data";

/// A folder that belongs to this process.
pub struct DataFolder {
    path: PathBuf,
    engines: usize,
    _lock: Flock<File>,
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the data folder {}: {error}", path.display()))
}

impl DataFolder {
    /// Opens the folder, or makes it. `wanted` is the number of engines that was asked for, `default` what it is in a new
    /// folder otherwise.
    ///
    /// # Errors
    /// When another process uses it, when its data was written by another number of engines than is wanted, or the disk's.
    pub fn open(path: &Path, wanted: Option<usize>, default: usize) -> io::Result<Self> {
        fs::create_dir_all(path).map_err(|error| about(path, &error))?;
        let path = fs::canonicalize(path).map_err(|error| about(path, &error))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(path.join("lock")).map_err(|error| about(&path, &error))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            let text = format!("the data in {} is used by another process", path.display());
            io::Error::new(io::ErrorKind::AddrInUse, text)
        })?;
        let engines = match known_engines(&path)? {
            Some(known) => {
                if let Some(wanted) = wanted.filter(|wanted| *wanted != known) {
                    return Err(io::Error::other(format!(
                        "the data in {} lies in {known} engines, and {wanted} were asked for: start with \
                         --embedded {known}, or with another folder (--data)",
                        path.display()
                    )));
                }
                known
            }
            None => {
                let count = wanted.unwrap_or(default);
                note_engines(&path, count).map_err(|error| about(&path, &error))?;
                count
            }
        };
        Ok(Self { path, engines, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many engines the data lies in.
    #[must_use]
    pub fn engines(&self) -> usize {
        self.engines
    }

    /// The folder of an engine, which is made if it is not there.
    ///
    /// # Errors
    /// The disk's.
    pub fn of_engine(&self, index: usize) -> io::Result<PathBuf> {
        let path = self.path.join(format!("engine-{index}"));
        fs::create_dir_all(&path).map_err(|error| about(&path, &error))?;
        Ok(path)
    }
}

fn known_engines(folder: &Path) -> io::Result<Option<usize>> {
    let path = folder.join("engines");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let count = text.trim().parse().ok().filter(|count| (1..=1024).contains(count));
            let wrong = || {
                io::Error::other(format!(
                    "{} does not say how many engines there are",
                    path.display()
                ))
            };
            count.map(Some).ok_or_else(wrong)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(about(&path, &error)),
    }
}

fn note_engines(folder: &Path, count: usize) -> io::Result<()> {
    let temporary = folder.join("engines.tmp");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{count}")?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join("engines"))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_number_of_engines_and_belongs_to_one() {
        let path = std::env::temp_dir().join(format!("redstart-folder-{}", std::process::id()));
        let first = DataFolder::open(&path, None, 3).expect("made");
        assert_eq!(first.engines(), 3);
        let problem =
            |wanted| DataFolder::open(&path, wanted, 5).err().map(|error| error.to_string());
        assert!(problem(None).is_some_and(|text| text.contains("another process")));
        drop(first);
        assert_eq!(DataFolder::open(&path, None, 5).expect("opened").engines(), 3);
        assert_eq!(DataFolder::open(&path, Some(3), 5).expect("opened").engines(), 3);
        assert!(problem(Some(4)).is_some_and(|text| text.contains("--embedded 3")));
        fs::write(path.join("engines"), "many").expect("written");
        assert!(problem(None).is_some_and(|text| text.contains("does not say")));
        fs::remove_dir_all(&path).expect("removed");
    }
}
