//! How the shared library is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Programs remember the interface and not the file; a thread of the library must never
        // return into code that dlclose() has taken away.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmidge.so.0");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
