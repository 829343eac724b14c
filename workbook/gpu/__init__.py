"""GPU code, with and without a GPU: run for its meaning, compiled and inspected, measured where there is a GPU."""
