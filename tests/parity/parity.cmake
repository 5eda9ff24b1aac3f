# build/bin/parity: one runner file per family of models.
kiln_program(parity
  SOURCES
    parity/autoencoder_cases.cpp
    parity/bert_cases.cpp
    parity/case.cpp
    parity/diffusion_cases.cpp
    parity/mae_cases.cpp
    parity/main.cpp
    parity/optim_cases.cpp
    parity/report.cpp
    parity/runners.cpp
    parity/scheduler_cases.cpp
    parity/sincos_cases.cpp
    parity/trainee.cpp
    parity/vit_cases.cpp
    parity/wordpiece_cases.cpp
  DEPS data models core)
