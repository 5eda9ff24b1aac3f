# build/bin/parity: one runner file per family of models.
kiln_program(parity
  SOURCES
    parity/cases/autoencoder_cases.cpp
    parity/cases/bert_cases.cpp
    parity/case.cpp
    parity/cases/diffusion_cases.cpp
    parity/cases/mae_cases.cpp
    parity/main.cpp
    parity/cases/optim_cases.cpp
    parity/report.cpp
    parity/runners.cpp
    parity/cases/scheduler_cases.cpp
    parity/cases/sincos_cases.cpp
    parity/trainee.cpp
    parity/cases/vit_cases.cpp
    parity/cases/wordpiece_cases.cpp
  DEPS data models core)
