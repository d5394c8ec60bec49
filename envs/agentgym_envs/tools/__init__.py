"""Tool calling as the field's benchmarks know it: tau-bench, BFCL, text worlds, and endless worlds of our own."""
