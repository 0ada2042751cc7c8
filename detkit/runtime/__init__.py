"""The machine: cores, threads, devices, memory, processes, progress, compiled loops."""
