//! The files of what replicas have yet to be sent, and the thread that writes and reads them, so that the engine's turn does
//! not wait for the disk. What is written and read when is decided by [`replication`](crate::replication).
//!
//! A file has no name: it is removed as soon as it is open, so that nothing is left of it whenever the process ends. It is never
//! synced, for it is of no use to another process.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use crate::replication::SpillJob;

/// What has come of a job, by its number.
#[derive(Debug)]
pub enum SpillReport {
    /// Of one that writes.
    Written(u64, io::Result<()>),
    /// Of one that reads. Fewer bytes than asked for are an error.
    Read(u64, io::Result<Bytes>),
}

/// The way to the thread, which is started when it is first needed.
#[derive(Debug, Default)]
pub struct SpillFiles {
    jobs: Option<Sender<SpillJob>>,
    /// Where the thread reports to; without it there is no shell, and nothing is written.
    reports: Option<UnboundedSender<SpillReport>>,
}

impl SpillFiles {
    /// Reports go there from now on.
    pub fn report_to(&mut self, reports: UnboundedSender<SpillReport>) {
        self.reports = Some(reports);
    }

    /// Has a job done. Files are made in `folder`.
    pub fn take(&mut self, job: SpillJob, folder: &Path) {
        let Some(reports) = &self.reports else { return };
        if self.jobs.is_none() {
            match start(folder.to_owned(), reports.clone()) {
                Ok(jobs) => self.jobs = Some(jobs),
                Err(error) => return refuse(&job, &error, reports),
            }
        }
        if let Some(jobs) = &self.jobs
            && let Err(refused) = jobs.send(job)
        {
            self.jobs = None;
            refuse(&refused.0, &io::Error::other("the thread is gone"), reports);
        }
    }
}

/// Answers a job that no thread takes.
fn refuse(job: &SpillJob, error: &io::Error, reports: &UnboundedSender<SpillReport>) {
    let error = io::Error::new(error.kind(), error.to_string());
    let report = match job {
        SpillJob::Write { id, .. } => SpillReport::Written(*id, Err(error)),
        SpillJob::Read { id, .. } => SpillReport::Read(*id, Err(error)),
        SpillJob::Free { .. } => return,
    };
    // Nobody is left to hear it when the server has ended meanwhile.
    let _ = reports.send(report);
}

fn start(folder: PathBuf, reports: UnboundedSender<SpillReport>) -> io::Result<Sender<SpillJob>> {
    let (jobs, to_do) = channel();
    let thread = std::thread::Builder::new().name("repl_spill".to_owned());
    thread.spawn(move || work(&folder, &to_do, &reports))?;
    Ok(jobs)
}

fn work(folder: &Path, jobs: &Receiver<SpillJob>, reports: &UnboundedSender<SpillReport>) {
    let mut files: BTreeMap<u64, File> = BTreeMap::new();
    while let Ok(job) = jobs.recv() {
        let report = match job {
            SpillJob::Write { id, segment, at, pieces } => {
                SpillReport::Written(id, write(folder, &mut files, segment, at, &pieces))
            }
            SpillJob::Read { id, segment, at, bytes } => {
                SpillReport::Read(id, read(&files, segment, at, bytes))
            }
            SpillJob::Free { before } => {
                files = files.split_off(&before);
                continue;
            }
        };
        if reports.send(report).is_err() {
            return;
        }
    }
}

fn write(
    folder: &Path,
    files: &mut BTreeMap<u64, File>,
    segment: u64,
    mut at: u64,
    pieces: &[Bytes],
) -> io::Result<()> {
    use std::collections::btree_map::Entry;
    let file = match files.entry(segment) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(place) => place.insert(create(folder, segment)?),
    };
    for piece in pieces {
        file.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

fn create(folder: &Path, segment: u64) -> io::Result<File> {
    let path = folder.join(format!("temp-spill-{}.{segment}.tmp", std::process::id()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn read(files: &BTreeMap<u64, File>, segment: u64, at: u64, bytes: usize) -> io::Result<Bytes> {
    let file = files.get(&segment).ok_or(io::ErrorKind::NotFound)?;
    let mut buffer = vec![0; bytes];
    file.read_exact_at(&mut buffer, at)?;
    Ok(buffer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("redstart-spill-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn what_was_written_is_read_back_and_no_name_is_left() {
        let (folder, mut files) = (folder(), SpillFiles::default());
        let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
        files.report_to(sender);
        let pieces = vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg")];
        files.take(SpillJob::Write { id: 1, segment: 5, at: 0, pieces }, &folder);
        files.take(SpillJob::Read { id: 2, segment: 5, at: 2, bytes: 4 }, &folder);
        files.take(SpillJob::Read { id: 3, segment: 5, at: 5, bytes: 4 }, &folder);
        files.take(SpillJob::Free { before: 6 }, &folder);
        files.take(SpillJob::Read { id: 4, segment: 5, at: 0, bytes: 1 }, &folder);
        assert!(matches!(reports.blocking_recv(), Some(SpillReport::Written(1, Ok(())))));
        assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 0);
        match reports.blocking_recv() {
            Some(SpillReport::Read(2, Ok(bytes))) => assert_eq!(bytes, "cdef"),
            other => panic!("{other:?}"),
        }
        for id in [3, 4] {
            let report = reports.blocking_recv();
            assert!(matches!(report, Some(SpillReport::Read(of, Err(_))) if of == id));
        }
        std::fs::remove_dir(&folder).expect("it is empty");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let mut files = SpillFiles::default();
        let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
        files.report_to(sender);
        let pieces = vec![Bytes::from_static(b"abc")];
        files.take(SpillJob::Write { id: 1, segment: 0, at: 0, pieces }, Path::new("/nowhere/x"));
        assert!(matches!(reports.blocking_recv(), Some(SpillReport::Written(1, Err(_)))));
    }
}
