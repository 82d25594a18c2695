# An overlay port: it builds the checkout that it lies in. vcpkg install midge --overlay-ports=release/vcpkg
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../../.." ABSOLUTE)
find_program(CARGO cargo PATHS "$ENV{HOME}/.cargo/bin")
if(NOT CARGO)
  message(FATAL_ERROR "midge is built by cargo, which is not there: install Rust")
endif()
get_filename_component(CARGO_FOLDER "${CARGO}" DIRECTORY)

set(PROFILE "$ENV{PROFILE}")
if(NOT PROFILE)
  set(PROFILE release)
endif()
set(CARGO_TARGET_DIR "$ENV{CARGO_TARGET_DIR}")
if(NOT CARGO_TARGET_DIR)
  set(CARGO_TARGET_DIR "${CURRENT_BUILDTREES_DIR}/cargo")
endif()

execute_process(
  COMMAND ${CMAKE_COMMAND} -E env "PREFIX=${CURRENT_PACKAGES_DIR}" LIBDIR=lib "PROFILE=${PROFILE}"
    "CARGO_TARGET_DIR=${CARGO_TARGET_DIR}" "PATH=${CARGO_FOLDER}:$ENV{PATH}" "${SOURCE_PATH}/bindings/c/install.sh"
  COMMAND_ERROR_IS_FATAL ANY)

# One kind of library, as the triplet says. A program's debug build uses the same one.
if(VCPKG_LIBRARY_LINKAGE STREQUAL "static")
  file(GLOB unwanted "${CURRENT_PACKAGES_DIR}/lib/libmidge.so*")
else()
  set(unwanted "${CURRENT_PACKAGES_DIR}/lib/libmidge.a")
endif()
file(REMOVE ${unwanted})
set(VCPKG_BUILD_TYPE release)

vcpkg_cmake_config_fixup(PACKAGE_NAME midge CONFIG_PATH lib/cmake/midge)
vcpkg_fixup_pkgconfig()
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE-MIT" "${SOURCE_PATH}/LICENSE-APACHE")
