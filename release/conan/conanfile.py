"""The C library of Midge for Conan 2: `conan create release/conan`. Built from this checkout by cargo."""

import os
import subprocess
from typing import ClassVar

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.files import copy

required_conan_version = ">=2.0"


class Midge(ConanFile):
    name = "midge"
    description = "A complete MQTT 5.0, 3.1.1 and 3.1 broker that lives in your process"
    license = "MIT OR Apache-2.0"
    topics = ("mqtt", "broker", "iot", "embedded")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options: ClassVar = {
        "shared": [True, False],
        # Features to leave out, separated by commas: mqtt31, sys, toml, unix, all.
        "without": ["ANY"],
        # Profile of cargo: release, minimal or dev.
        "profile": ["ANY"],
    }
    default_options: ClassVar = {"shared": False, "without": "", "profile": "release"}

    @property
    def _root(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        script = os.path.join(self._root, "bindings", "c", "install.sh")
        self.version = subprocess.run(
            [script, "--version"], check=True, capture_output=True, text=True
        ).stdout.strip()

    def export_sources(self):
        folders = ("crates/*", "bindings/*", "include/*", "examples/rust/*", "docs/*")
        for pattern in (*folders, "Cargo.*", "LICENSE-*", "README.md"):
            copy(self, pattern, self._root, self.export_sources_folder, excludes=("*/target/*",))

    def validate(self):
        if self.settings.os != "Linux":
            raise ConanInvalidConfiguration(
                "this recipe builds for Linux; other systems have other packages"
            )

    def package_id(self):
        # What is linked is Rust's, whatever compiles the program.
        del self.info.settings.compiler
        del self.info.settings.build_type

    def build(self):
        pass

    def package(self):
        script = os.path.join(self.source_folder, "bindings", "c", "install.sh")
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(self.build_folder, "cargo"))
        settings = f'PREFIX="{self.package_folder}" PROFILE={self.options.profile} CARGO_TARGET_DIR="{target}"'
        self.run(f'{settings} "{script}" "--without={self.options.without}"')
        copy(self, "LICENSE-*", self.source_folder, os.path.join(self.package_folder, "licenses"))

        unwanted = "libmidge.a" if self.options.shared else "libmidge.so*"
        folder = os.path.join(self.package_folder, "lib")
        self.run(f'rm -f "{folder}"/{unwanted} && rm -rf "{folder}/cmake" "{folder}/pkgconfig"')

    def package_info(self):
        self.cpp_info.libs = ["midge"]
        self.cpp_info.set_property("cmake_target_name", "midge::midge")
        self.cpp_info.set_property("pkg_config_name", "midge")
        if not self.options.shared:
            self.cpp_info.system_libs = ["pthread", "dl", "m"]
