# What is installed, used from outside. Sanitizers would have to be in the example too.
add_test(NAME package_own_model COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/package/own_model.sh ${CMAKE_BINARY_DIR})
set_tests_properties(package_own_model PROPERTIES LABELS no_sanitizer TIMEOUT 600 PROCESSORS 2)
