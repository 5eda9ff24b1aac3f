kiln_test(models/diffusion_formulation_test.cpp DEPS models)
kiln_test(models/diffusion_samplers_test.cpp DEPS models TORCH)
kiln_test(models/diffusion_schedule_test.cpp DEPS models)
kiln_test(models/diffusion_variance_bound_test.cpp DEPS models TORCH)
