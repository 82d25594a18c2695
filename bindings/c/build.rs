//! How the shared library is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Programs remember the interface and not the file; a thread of the library must never
        // return into code that dlclose() has taken away.
        println!(
            "cargo:rustc-cdylib-link-arg=-Wl,-soname,libmidge.so.{}",
            interface()
        );
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}

/// Before 1.0 each minor version is an interface of its own, as in `midge-config-version.cmake`.
fn interface() -> String {
    let part = |name| std::env::var(name).unwrap_or_default();
    let major = part("CARGO_PKG_VERSION_MAJOR");
    match major.as_str() {
        "0" => format!("0.{}", part("CARGO_PKG_VERSION_MINOR")),
        _ => major,
    }
}
