# What: the installable C++ package: find_package(holdfast) gives holdfast::holdfast. Component `cpp`: headers, one archive and
# the package files. (The Python module is component `python`, see HoldfastPython.cmake.)
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(HF_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/holdfast")
install(TARGETS holdfast EXPORT holdfast-targets COMPONENT cpp ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT cpp)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/holdfast" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT cpp
  FILES_MATCHING PATTERN "*.hpp")
install(EXPORT holdfast-targets NAMESPACE holdfast:: FILE holdfast-targets.cmake DESTINATION "${HF_CMAKE_DIR}" COMPONENT cpp)

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/holdfast-config.cmake.in" "${PROJECT_BINARY_DIR}/holdfast-config.cmake"
  INSTALL_DESTINATION "${HF_CMAKE_DIR}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/holdfast-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/holdfast-config.cmake" "${PROJECT_BINARY_DIR}/holdfast-config-version.cmake"
  DESTINATION "${HF_CMAKE_DIR}" COMPONENT cpp)
