kiln_test(dist/autopsy_test.cpp LIBS kiln::test_program TIMEOUT 240)
kiln_test(dist/communicator_test.cpp DEPS dist RANKS 1 2 3 4)
kiln_test(dist/flight_recorder_test.cpp DEPS dist)
kiln_test(dist/gradient_exchange_test.cpp DEPS dist)
kiln_test(dist/mpi_parameters_test.cpp DEPS dist)
kiln_test(dist/newest_checkpoint_test.cpp DEPS core dist)
kiln_test(dist/process_test.cpp DEPS dist)
kiln_test(dist/tree_plan_test.cpp DEPS dist)

# Ranks with faults, run by autopsy_test under mpirun.
add_executable(dist_faulty_rank dist/faulty_rank.cpp)
set_target_properties(dist_faulty_rank PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_link_libraries(dist_faulty_rank PRIVATE kiln::launch kiln::flags)
target_compile_definitions(dist_autopsy_test PRIVATE
  KILN_FAULTY_RANK="$<TARGET_FILE:dist_faulty_rank>")
add_dependencies(dist_autopsy_test dist_faulty_rank)
