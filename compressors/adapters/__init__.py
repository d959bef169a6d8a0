"""Low-rank adapters (LoRA): what trains in the place of a weight."""
