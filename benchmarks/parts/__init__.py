"""The parts of the benchmark: one module each, with one function `measure` and a typed result."""
