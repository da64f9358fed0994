//! Builds the Lua of this folder for `mlua`, in the place of the crate `lua-src`: see the README.

use std::env;
use std::path::{Path, PathBuf};

/// The versions of Lua that `mlua` may ask for. Only the first is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 5.1.5.
    Lua51,
    /// Not here.
    Lua52,
    /// Not here.
    Lua53,
    /// Not here.
    Lua54,
    /// Not here.
    Lua55,
}
pub use self::Version::*;

/// The files of these names in the folder of Lua's sources, with what they hold.
macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../lua-5.1.5/", $name)).as_slice())),*]
    };
}

/// Lua's sources. They are part of this library, so that it does not have to find their folder again: a work tree may be
/// moved, or share what was built with another one.
static SOURCES: [(&str, &[u8]); 52] = sources![
    "lapi.c",
    "lapi.h",
    "lauxlib.c",
    "lauxlib.h",
    "lbaselib.c",
    "lcode.c",
    "lcode.h",
    "ldblib.c",
    "ldebug.c",
    "ldebug.h",
    "ldo.c",
    "ldo.h",
    "ldump.c",
    "lfunc.c",
    "lfunc.h",
    "lgc.c",
    "lgc.h",
    "linit.c",
    "liolib.c",
    "llex.c",
    "llex.h",
    "llimits.h",
    "lmathlib.c",
    "lmem.c",
    "lmem.h",
    "loadlib.c",
    "lobject.c",
    "lobject.h",
    "lopcodes.c",
    "lopcodes.h",
    "loslib.c",
    "lparser.c",
    "lparser.h",
    "lstate.c",
    "lstate.h",
    "lstring.c",
    "lstring.h",
    "lstrlib.c",
    "ltable.c",
    "ltable.h",
    "ltablib.c",
    "ltm.c",
    "ltm.h",
    "lua.h",
    "luaconf.h",
    "lualib.h",
    "lundump.c",
    "lundump.h",
    "lvm.c",
    "lvm.h",
    "lzio.c",
    "lzio.h"
];

/// How Lua is built: as the environment of a build script says.
#[derive(Default)]
pub struct Build;

impl Build {
    /// The usual way.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Builds Lua.
    ///
    /// # Panics
    /// Outside of a build script, when the compiler fails, and for any version but 5.1.
    #[must_use]
    pub fn build(&self, version: Version) -> Artifacts {
        assert_eq!(version, Lua51, "only Lua 5.1 is here");
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("a build script has OUT_DIR"));
        let (source, lib_dir) = (out.join("source"), out.join("lib"));
        std::fs::create_dir_all(&source).expect("OUT_DIR can be written");
        for (name, text) in SOURCES {
            std::fs::write(source.join(name), text).expect("OUT_DIR can be written");
        }
        let files = SOURCES.iter().filter(|(name, _)| name.ends_with(".c"));
        cc::Build::new()
            .cargo_metadata(false)
            .warnings(false)
            .define("LUA_USE_POSIX", None)
            .flag_if_supported("-fno-common")
            .include(&source)
            .files(files.map(|(name, _)| source.join(name)))
            .out_dir(&lib_dir)
            .compile("lua5.1");
        Artifacts { lib_dir }
    }
}

/// Where the library is.
#[derive(Clone, Debug)]
pub struct Artifacts {
    lib_dir: PathBuf,
}

impl Artifacts {
    /// The folder of the library.
    #[must_use]
    pub fn lib_dir(&self) -> &Path {
        &self.lib_dir
    }

    /// Its name.
    #[must_use]
    pub fn libs(&self) -> &[&'static str] {
        &["lua5.1"]
    }

    /// Tells cargo what to link.
    pub fn print_cargo_metadata(&self) {
        println!("cargo:rustc-link-search=native={}", self.lib_dir.display());
        println!("cargo:rustc-link-lib=static:-bundle=lua5.1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_of_the_folder_are_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/lua-5.1.5");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        files.sort();
        assert_eq!(files, SOURCES.map(|(name, _)| name));
    }
}
