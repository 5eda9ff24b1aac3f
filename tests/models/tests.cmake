kiln_test(models/diffusion_formulation_test.cpp DEPS models)
kiln_test(models/diffusion_samplers_test.cpp DEPS models TORCH)
kiln_test(models/diffusion_schedule_test.cpp DEPS models)
kiln_test(models/diffusion_variance_bound_test.cpp DEPS models TORCH)
kiln_test(models/interchange_test.cpp DEPS models TORCH)
kiln_test(models/mae_test.cpp DEPS models TORCH)
kiln_test(models/parity_test.cpp)
kiln_test(models/probe_test.cpp DEPS models TORCH)
kiln_test(models/vit_classifier_test.cpp DEPS models TORCH)
add_dependencies(models_parity_test parity)
# KILN_PYTHON names an interpreter that has torch and transformers.
add_test(NAME interchange_transformers COMMAND sh -c
  "exec \${KILN_PYTHON:-python3} ${CMAKE_CURRENT_SOURCE_DIR}/interchange/transformers_check.py $<TARGET_FILE:parity> ${PROJECT_SOURCE_DIR}/../shared/parity/vitmae ${PROJECT_SOURCE_DIR}/../shared/parity/vitmae_normpix ${PROJECT_SOURCE_DIR}/../shared/parity/vit_cls")
set_tests_properties(interchange_transformers PROPERTIES LABELS full SKIP_RETURN_CODE 77 TIMEOUT 300)
