"""Evidence against what people use today: our decision on a change of speed beside those of pytest-benchmark
and asv, on the same samples.

    recording    a small real model timed against itself, unchanged and with real extra work
    samples      what is kept of that
    rivals       the rules of pytest-benchmark and asv, by their own code
    nights       simulated nightly runs, drawn from the recorded noise
    decisions    every rule on every recording and night: alarms and measuring time
    page         docs/trust.md

`python -m benchmarks.trust` (`make trust`) does all of it; `--from FILE` redraws the page from stored samples.
"""
