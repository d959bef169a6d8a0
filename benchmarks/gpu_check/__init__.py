"""`python -m benchmarks.gpu_check`: does what this suite does on a GPU do what it says? One command of some minutes.

Every check is by itself, in a process of its own where it can be, and says that it held, that it failed and why, or
that it is not here and why not, with all that it measured. Models have random weights and are made in memory: nothing
is downloaded. On a CPU, or with --small, the same code runs on tiny shapes.
"""
