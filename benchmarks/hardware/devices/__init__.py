"""The devices that can be benchmarked on, a file each: `detect` says which of its kind this machine has."""
