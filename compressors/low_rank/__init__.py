"""Low rank: one linear layer becomes two thin ones."""
