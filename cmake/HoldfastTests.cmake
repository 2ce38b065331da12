# What: the C++ tests: tests/cpp/<layer>/*_test.cpp become one executable hf_<layer>_tests per layer (its own main.cpp, if the
# folder has one, replaces gtest_main). Each test is a ctest of its own with the label <layer> and a time limit that another
# process enforces (tools/run_limited.py): a hang fails with the stacks of all its processes, a test that leaves processes fails.
# A file <what>_main.cpp there is a program of its own, hf_<layer>_<what>, with the folder's other non-test sources.
# ThreadSanitizer cannot follow a fork from a threaded process (design.md, section 9): the label tsan is on all tests of base and
# core, on those of ring whose suite has no "Process" in its name, and elsewhere on suites with "Tsan" in their name.

find_package(GTest QUIET)
if(NOT GTest_FOUND)
  message(FATAL_ERROR "The C++ tests need GoogleTest: apt-get install libgtest-dev libgmock-dev (or -DHOLDFAST_BUILD_TESTS=OFF).")
endif()
include(GoogleTest)
find_package(Python3 3.9 QUIET COMPONENTS Interpreter)
if(NOT Python3_Interpreter_FOUND)
  message(FATAL_ERROR "The C++ tests are run under tools/run_limited.py, which needs Python >= 3.9: apt-get install python3.")
endif()
set(HF_TEST_SECONDS 60 CACHE STRING "Outer time limit of one C++ test")

# "Emulator" is CMake's word for a program that every test of a target made from here on (examples and fuzzers too) is run under.
set(CMAKE_CROSSCOMPILING_EMULATOR "${Python3_EXECUTABLE};${PROJECT_SOURCE_DIR}/tools/run_limited.py;${HF_TEST_SECONDS}")

set(HF_TSAN_base "*")
set(HF_TSAN_core "*")
set(HF_TSAN_ring "-*Process*")

function(hf_layer_tests layer)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/cpp/${layer}/*_test.cpp")
  file(GLOB support CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/cpp/${layer}/*.cpp")
  file(GLOB programs CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/cpp/${layer}/*_main.cpp")
  if(programs)
    list(REMOVE_ITEM support ${programs})
  endif()
  if(NOT sources OR NOT TARGET hf_${layer})
    return()
  endif()
  set(name hf_${layer}_tests)
  add_executable(${name} ${support})
  hf_compile_options(${name})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/cpp")
  target_link_libraries(${name} PRIVATE hf_${layer} GTest::gmock)
  if(NOT EXISTS "${PROJECT_SOURCE_DIR}/tests/cpp/${layer}/main.cpp")
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
  endif()
  foreach(program IN LISTS programs)
    cmake_path(GET program STEM what)
    string(REGEX REPLACE "_main$" "" what "${what}")
    set(shared ${support})
    list(FILTER shared EXCLUDE REGEX "(_test|/main)\\.cpp$")
    add_executable(hf_${layer}_${what} ${program} ${shared})
    hf_compile_options(hf_${layer}_${what})
    target_include_directories(hf_${layer}_${what} PRIVATE "${PROJECT_SOURCE_DIR}/tests/cpp")
    target_link_libraries(hf_${layer}_${what} PRIVATE hf_${layer})
  endforeach()
  if(DEFINED HF_TSAN_${layer})
    set(tsan_filter "${HF_TSAN_${layer}}")
  else()
    set(tsan_filter "*Tsan*")
  endif()
  math(EXPR last_resort "${HF_TEST_SECONDS} + 60")
  set(options TEST_PREFIX "${layer}." DISCOVERY_TIMEOUT 60 DISCOVERY_MODE PRE_TEST)
  gtest_discover_tests(${name} ${options} TEST_LIST ${name}_tsan TEST_FILTER "${tsan_filter}"
    PROPERTIES LABELS "${layer};tsan" TIMEOUT ${last_resort})
  if(NOT tsan_filter STREQUAL "*")
    if(tsan_filter MATCHES "^-(.*)$")
      set(rest "${CMAKE_MATCH_1}")
    else()
      set(rest "-${tsan_filter}")
    endif()
    gtest_discover_tests(${name} ${options} TEST_LIST ${name}_rest TEST_FILTER "${rest}"
      PROPERTIES LABELS "${layer}" TIMEOUT ${last_resort})
  endif()
endfunction()

foreach(layer IN LISTS HF_LAYERS)
  hf_layer_tests(${layer})
endforeach()

include(HoldfastFailpoints)

if(HOLDFAST_INSTALL)
  list(JOIN HF_SANITIZE_FLAGS " " hf_consumer_flags)
  add_test(NAME cmake_consumer COMMAND "${CMAKE_COMMAND}" "-DBUILD_DIR=${PROJECT_BINARY_DIR}"
    "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}/tests/cmake_consumer" "-DWORK_DIR=${PROJECT_BINARY_DIR}/consumer" "-DGENERATOR=${CMAKE_GENERATOR}"
    "-DCXX=${CMAKE_CXX_COMPILER}" "-DFLAGS=${hf_consumer_flags}" -P "${PROJECT_SOURCE_DIR}/tests/cmake_consumer/run.cmake")
  set_tests_properties(cmake_consumer PROPERTIES LABELS package TIMEOUT 300)
endif()

# The protocol models (model/*.pml): every right model holds, every mutant fails.
find_program(HOLDFAST_SPIN spin)
if(HOLDFAST_SPIN AND EXISTS "${PROJECT_SOURCE_DIR}/model/check.sh")
  add_test(NAME model COMMAND "${PROJECT_SOURCE_DIR}/model/check.sh" "${PROJECT_BINARY_DIR}/model")
  set_tests_properties(model PROPERTIES LABELS model TIMEOUT 600 COST 1000)
endif()
