# What: installs component `cpp` of BUILD_DIR into an empty prefix, then configures, builds and runs the consumer against it.
# Called by ctest: cmake -DBUILD_DIR=... -DSOURCE_DIR=... -DWORK_DIR=... -DGENERATOR=... -DCXX=... -DFLAGS=... -P run.cmake

function(must)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    list(JOIN ARGV " " shown)
    message(FATAL_ERROR "failed (${code}): ${shown}")
  endif()
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
must("${CMAKE_COMMAND}" --install "${BUILD_DIR}" --component cpp --prefix "${WORK_DIR}/prefix")
must("${CMAKE_COMMAND}" -S "${SOURCE_DIR}" -B "${WORK_DIR}/build" -G "${GENERATOR}" "-DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix"
  "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_CXX_FLAGS=${FLAGS}")
must("${CMAKE_COMMAND}" --build "${WORK_DIR}/build")
must("${WORK_DIR}/build/consumer")

# Only public headers are installed: a room's own header in the prefix would become an interface that nobody promised.
file(GLOB_RECURSE strays RELATIVE "${WORK_DIR}/prefix/include" "${WORK_DIR}/prefix/include/*")
list(FILTER strays EXCLUDE REGEX "^holdfast/[a-z_]+\\.hpp$")
if(strays)
  message(FATAL_ERROR "installed, but not public: ${strays}")
endif()
