# What: how every target of ours is compiled: C++20, position independent, warnings, sanitizers, link-time optimisation, ccache where it is found.
# Defines hf_compile_options(<target>) and hf_optional_subdirectory(<dir>).

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  find_program(HOLDFAST_CCACHE ccache)
  if(HOLDFAST_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${HOLDFAST_CCACHE}")
  endif()
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

set(HF_SANITIZE_FLAGS "")
if(HOLDFAST_SANITIZE)
  set(HF_SANITIZE_FLAGS -fsanitize=${HOLDFAST_SANITIZE} -fno-omit-frame-pointer)
  if(HOLDFAST_SANITIZE MATCHES "undefined")
    list(APPEND HF_SANITIZE_FLAGS -fno-sanitize-recover=undefined)
  endif()
endif()

if(HOLDFAST_LTO)
  include(CheckIPOSupported)
  check_ipo_supported(RESULT HF_LTO_WORKS OUTPUT HF_LTO_WHY LANGUAGES CXX)
  if(NOT HF_LTO_WORKS)
    message(WARNING "HOLDFAST_LTO is on, and this compiler cannot: it is built without. ${HF_LTO_WHY}")
  endif()
endif()

function(hf_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE -Wno-restrict)  # false alarms on "text" + std::string at -O3 (GCC bug 105651)
  endif()
  if(HOLDFAST_LTO AND HF_LTO_WORKS)
    # Hidden: another module could put its own in the place of a visible function, which therefore cannot be inlined.
    set_target_properties(${target} PROPERTIES INTERPROCEDURAL_OPTIMIZATION ON
      CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  endif()
  if(HOLDFAST_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(HF_SANITIZE_FLAGS)
    target_compile_options(${target} PRIVATE ${HF_SANITIZE_FLAGS})
    target_link_options(${target} PUBLIC ${HF_SANITIZE_FLAGS})
  endif()
endfunction()

if(HOLDFAST_FAILPOINTS)
  add_compile_definitions(HOLDFAST_FAILPOINTS)
endif()

# A part of the tree that has its own CMakeLists.txt; skipped while it has none.
function(hf_optional_subdirectory dir)
  if(EXISTS "${PROJECT_SOURCE_DIR}/${dir}/CMakeLists.txt")
    add_subdirectory("${PROJECT_SOURCE_DIR}/${dir}" "${PROJECT_BINARY_DIR}/${dir}")
  endif()
endfunction()
