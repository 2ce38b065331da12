# What: the C++ tests: tests/cpp/<layer>/*_test.cpp become one executable hf_<layer>_tests per layer (its own main.cpp, if the
# folder has one, replaces gtest_main). Each test is a ctest of its own with the label <layer> and a time limit, so that a hang
# fails and names itself.

find_package(GTest QUIET)
if(NOT GTest_FOUND)
  message(FATAL_ERROR "The C++ tests need GoogleTest: apt-get install libgtest-dev libgmock-dev (or -DHOLDFAST_BUILD_TESTS=OFF).")
endif()
include(GoogleTest)

function(hf_layer_tests layer)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/cpp/${layer}/*_test.cpp")
  file(GLOB support CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/cpp/${layer}/*.cpp")
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
  gtest_discover_tests(${name} TEST_PREFIX "${layer}." DISCOVERY_TIMEOUT 60 DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS ${layer} TIMEOUT 120)
endfunction()

foreach(layer IN LISTS HF_LAYERS)
  hf_layer_tests(${layer})
endforeach()
