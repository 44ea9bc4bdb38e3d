//! Files that direct osc: regular, of bounded size, and owned by a user who may do so.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A larger file is no configuration.
const MOST_BYTES: u64 = 1024 * 1024;

/// A file that was read.
pub(super) struct Found {
    /// What it says.
    pub(super) text: String,
    metadata: Metadata,
}

/// Reads a file of `most` bytes or fewer; `None`: it is not there. A pipe is not waited for.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn bytes(path: &Path, most: u64) -> io::Result<Option<(Vec<u8>, Metadata)>> {
    let wrong = |what: String| io::Error::new(ErrorKind::InvalidInput, what);
    let absent = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => Ok(None),
        _ => Err(error),
    };
    match std::fs::metadata(path) {
        // Opening a pipe would wait for its writer.
        Ok(metadata) if !metadata.is_file() => {
            return Err(wrong("it is not a regular file".into()));
        }
        Ok(_) => {}
        Err(error) => return absent(error),
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return absent(error),
    };
    // Of what was opened: the path may name another file by now.
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(wrong(format!("it is larger than {most} bytes")));
    }
    Ok(Some((bytes, metadata)))
}

/// Reads a text file; `None`: it is not there.
///
/// # Errors
/// What is wrong with it.
pub(super) fn text(path: &Path) -> io::Result<Option<Found>> {
    let Some((bytes, metadata)) = bytes(path, MOST_BYTES)? else { return Ok(None) };
    let text = String::from_utf8(bytes)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))?;
    Ok(Some(Found { text, metadata }))
}

impl Found {
    /// Whether everybody may change what it says.
    pub(super) fn world_writable(&self) -> bool {
        self.metadata.permissions().mode() & 0o002 != 0
    }

    /// Whether everybody may read it.
    pub(super) fn world_readable(&self) -> bool {
        self.metadata.permissions().mode() & 0o004 != 0
    }

    /// Why it may have been put at `path` by another user than this one and root; `None`: it cannot
    /// have been.
    pub(super) fn of_another(&self, path: &Path) -> Option<String> {
        let user = rustix::process::geteuid().as_raw();
        let trusted = |owner: u32| owner == 0 || owner == user;
        // A link chooses the file, so it must be trusted as well.
        let link = std::fs::symlink_metadata(path).map_or(user, |link| link.uid());
        if let Some(owner) = [self.metadata.uid(), link].into_iter().find(|owner| !trusted(*owner))
        {
            return Some(format!("it belongs to user {owner}, and you are user {user}"));
        }
        if self.world_writable() {
            return Some("everybody may write to it".into());
        }
        let group = self.metadata.gid();
        let own_group = group == 0 || group == rustix::process::getegid().as_raw();
        (self.metadata.permissions().mode() & 0o020 != 0 && !own_group).then(|| {
            format!("the members of group {group}, which is not your own, may write to it")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_small_regular_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        assert!(text(&path).unwrap().is_none());
        // 8 GiB without a byte on the disk.
        File::create(&path).unwrap().set_len(8 << 30).unwrap();
        assert!(text(&path).map(|_| ()).unwrap_err().to_string().contains("larger"));
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(text(&pipe).map(|_| ()).unwrap_err().to_string().contains("regular"));
        assert!(text(folder.path()).is_err() && text(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn a_file_that_others_can_have_written_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let why = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            text(&path).unwrap().unwrap().of_another(&path)
        };
        assert_eq!(why(0o644), None);
        assert!(why(0o646).unwrap().contains("everybody"));
    }
}
