"""Other people's quantizers, as compressors beside ours.

Each runs in an environment of its own (`environment.py`), is handed files and hands back files (`handover.py`), and is
scored by the weights in the files that it saved, which readers of ours decode (`formats.py`). Covers the linear layers
of the Transformer blocks, not embeddings or heads, whatever a peer does by default: equal bits then mean equal things.
"""
