"""Which CPUs lose what an int8 product adds up: without VNNI two products of an 8-bit activation and a weight are added
in 16 bits, which end at 32,767 without a word. Weights of 7 bits cannot get there (2 · 255 · 64 = 32,640)."""

from __future__ import annotations

from compressors.interface import Hardware

NO_SATURATION = {"vnni", "amx"}
"""Features of a CPU whose products of 8 bits add up in 32."""


def saturates(hardware: Hardware) -> bool:
    """Whether weights of 8 bits may saturate there."""
    return not hardware.features & NO_SATURATION
