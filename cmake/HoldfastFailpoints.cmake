# What: the failpoint tests (docs/testing.md, "Failpoints"). Built with failpoints: a driver and its runs, at every point each action. Built
# without: the proof that nothing of them is in the library.

set(hf_failpoints "${PROJECT_SOURCE_DIR}/tests/failpoints")
set(hf_expected absent)
if(HOLDFAST_FAILPOINTS)
  set(hf_expected present)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/cpp/failpoints/*.cpp")
  add_executable(hf_failpoint_driver ${sources})
  hf_compile_options(hf_failpoint_driver)
  target_include_directories(hf_failpoint_driver PRIVATE "${PROJECT_SOURCE_DIR}/tests/cpp")
  target_link_libraries(hf_failpoint_driver PRIVATE holdfast)
  foreach(action IN ITEMS kill stop delay)
    add_test(NAME failpoints.${action} COMMAND "${Python3_EXECUTABLE}" "${hf_failpoints}/run.py" "$<TARGET_FILE:hf_failpoint_driver>" ${action})
    set_tests_properties(failpoints.${action} PROPERTIES LABELS failpoints TIMEOUT 600 COST 500)
  endforeach()
endif()
add_test(NAME failpoints.${hf_expected} COMMAND "${Python3_EXECUTABLE}" "${hf_failpoints}/look_inside.py" ${hf_expected} "$<TARGET_FILE:holdfast>")
set_tests_properties(failpoints.${hf_expected} PROPERTIES LABELS failpoints TIMEOUT 60)
