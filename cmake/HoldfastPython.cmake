# What: the Python module holdfast._core: python/bindings/*.cpp on nanobind, linked with the whole library. Install component
# `python` (scikit-build-core installs it into the wheel, beside python/holdfast).

file(GLOB HF_BINDINGS CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/python/bindings/*.cpp")
if(NOT HF_BINDINGS)
  message(FATAL_ERROR "python/bindings has no sources: the Python module cannot be built.")
endif()

find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
if(NOT nanobind_ROOT AND NOT DEFINED SKBUILD)
  # A build by hand: nanobind is where this interpreter has it. (scikit-build-core puts it on the search path itself.)
  execute_process(COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir OUTPUT_STRIP_TRAILING_WHITESPACE OUTPUT_VARIABLE nanobind_ROOT
    ERROR_QUIET)
endif()
find_package(nanobind 3.1 CONFIG QUIET)
if(NOT nanobind_FOUND)
  message(FATAL_ERROR "The Python module needs nanobind >= 3.1: pip install nanobind (found Python: ${Python_EXECUTABLE}).")
endif()

# NB_DOMAIN: our types are not shared with other nanobind modules of the process. NOMINSIZE: speed before size. NOSTRIP: names in the stacks of
# a hung process.
nanobind_add_module(_core NB_STATIC NB_DOMAIN holdfast NOMINSIZE NOSTRIP NB_SUPPRESS_WARNINGS ${HF_BINDINGS})
hf_compile_options(_core)
target_include_directories(_core PRIVATE "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/include"
  "${PROJECT_SOURCE_DIR}/python/bindings")
target_link_libraries(_core PRIVATE holdfast)
install(TARGETS _core LIBRARY DESTINATION holdfast COMPONENT python)
