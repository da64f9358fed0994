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
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("lua-5.1.5");
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("a build script has OUT_DIR"));
        let lib_dir = out.join("lib");
        let mut files: Vec<PathBuf> = std::fs::read_dir(&source)
            .expect("the sources are there")
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
            .collect();
        files.sort();
        println!("cargo:rerun-if-changed={}", source.display());
        cc::Build::new()
            .cargo_metadata(false)
            .warnings(false)
            .define("LUA_USE_POSIX", None)
            .flag_if_supported("-fno-common")
            .include(&source)
            .files(files)
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
