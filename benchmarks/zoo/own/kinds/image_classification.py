"""Image classification: folders of images, or a data set with an image and a label."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.quality.classification import Classification
from benchmarks.quality.scoring import Quality
from benchmarks.quality.shown import IMAGE_PIXELS
from benchmarks.zoo.own import labels
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.kind import Fitted, Kind, Read, Row
from benchmarks.zoo.own.table import DataError, Table
from benchmarks.zoo.owners_run import OwnersRun, by_pipeline
from benchmarks.zoo.workload import Workload
from compressors import install
from compressors.interface import Examples, InputSpec, PressbenchError

MOST_PIXELS = 2**26
"""A larger image is refused before it is unpacked."""
BANDS = "bands"


class ImageClassification(Kind):
    """Images as the model's own processor prepares them."""

    name: ClassVar[str] = "image-classification"
    heads: ClassVar[tuple[str, ...]] = ("ForImageClassification",)
    roles: ClassVar[tuple[str, ...]] = ("image", "label")
    distinct: ClassVar[tuple[str, ...]] = ("image",)
    training_examples: ClassVar[int] = 1000

    def read(self, table: Table, columns: Mapping[str, str], model: Checkpoint, said: Declaration) -> Read:
        _need_pillow()
        found = labels.match(table, columns["label"], model, said.labels)
        if found.how == labels.BY_NUMBER:
            _in_order([row[columns["label"]] for row in table.rows], table.where, model)
        rows: list[Row] = []
        for index, row in enumerate(table.rows):
            value = row.get(columns["image"])
            data = value.get("bytes") if isinstance(value, Mapping) else value
            if not isinstance(data, bytes):
                raise DataError(f"{table.at(index)}: column {columns['image']!r} holds no image")
            rows.append({"image": data, "label": found.number(row[columns["label"]]), "place": table.at(index)})
        return Read(rows, found.names, (f"labels {found.how}: {', '.join(found.names[:12])}",))

    def fit(self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, said: Declaration) -> Fitted:
        processor = _processor(model.folder, model.said)
        every = [row for split in rows.values() for row in split]
        clear = [row["place"] for row in every if "A" in opened(row["image"], row["place"]).info[BANDS]]
        shapes = {np.asarray(_prepared(processor, row["image"], row["place"])).shape for row in every[:2]}
        shape = shapes.pop()
        wanted = model.config.get("image_size", 224)
        height, width = (wanted, wanted) if isinstance(wanted, int) else wanted
        channels = int(model.config.get("num_channels", 3))
        if shape != (channels, height, width):
            raise ModelError(
                f"{model.said}: its preprocessor_config.json makes images of {'×'.join(map(str, shape))}, the model "
                f"takes {channels}×{height}×{width}"
            )
        note = (
            f"{len(clear):,} images have an alpha channel, which is left out, as transformers does; first "
            f"{(clear or [''])[0]}"
        )
        inputs = {"pixel_values": InputSpec("float32", ("batch", channels, height, width))}
        return Fitted({}, inputs, (note,) if clear else ())

    def encode(self, rows: Mapping[str, Sequence[Any]], folder: Path, settings: Mapping[str, Any]) -> Examples:
        processor = _processor(folder, str(folder))
        images = [_prepared(processor, image, place) for image, place in zip(rows["image"], rows["place"], strict=True)]
        pixels = torch.from_numpy(np.stack(images).astype(np.float32))
        return Examples({"pixel_values": pixels}, torch.tensor(list(rows["label"]), dtype=torch.int64))

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], whole: Path, model: Checkpoint, settings: Mapping[str, Any]
    ) -> OwnersRun:
        from PIL import Image
        from transformers.image_utils import load_image

        images = (load_image(Image.open(io.BytesIO(data))) for data in rows["image"])
        return by_pipeline("image-classification", images, str(whole), "logits")

    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        return Classification()

    def workloads(self, settings: Mapping[str, Any]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
        return (Workload(8),), (Workload(1), Workload(32))

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        from PIL import Image

        grey = opened(row["image"], row["place"]).convert("L")
        grey.thumbnail((IMAGE_PIXELS, IMAGE_PIXELS), Image.Resampling.BOX)
        return {"image": np.asarray(grey).tolist()}


def _in_order(given: Sequence[Any], where: str, model: Checkpoint) -> None:
    """Raises DataError where folders are named by numbers that the model does not name, and their order as numbers is
    not that of their names as text, which torchvision's and datasets' image folders number classes by."""
    folders = sorted({label for label in given if isinstance(label, str)})
    by_number = sorted(folders, key=int)
    if labels.generic(model.labels) and by_number != folders:
        raise DataError(
            f"{where}: folders named by number, and {model.said} does not name its outputs: trained on such folders by "
            f"torchvision or datasets they are in the order of text: labels={','.join(folders)}; else "
            f"labels={','.join(by_number)}; say which"
        )


def opened(data: bytes, place: str) -> Any:
    """The image, in RGB, as transformers opens it; its own bands are in `info` under BANDS. Raises DataError naming its
    file where it does not decode, or where 8 bits a pixel would lose what is in it."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a size that is refused below
            image = Image.open(io.BytesIO(data))
        if image.width * image.height > MOST_PIXELS:
            raise DataError(f"{place}: {image.width} × {image.height} pixels are too many ({MOST_PIXELS:,} at most)")
        most: Any = image.getextrema()[1] if image.mode.startswith(("I", "F")) else 0  # of one band it is a number
        if image.mode == "F" or most > 255:
            raise DataError(
                f"{place}: {'fractions' if image.mode == 'F' else f'values up to {most:.0f}'}, which transformers cuts "
                "to 8 bits a pixel when it opens the file; save it scaled to 0 to 255"
            )
        bands = "".join(image.getbands()) + ("A" if "transparency" in image.info else "")
        found = ImageOps.exif_transpose(image).convert("RGB")  # as the camera was held: transformers does so too
        found.info[BANDS] = bands
        return found
    except DataError:
        raise
    except Exception as error:  # a decoder's errors are of many kinds
        why = "not an image that Pillow knows" if "cannot identify" in str(error) else str(error)
        raise DataError(f"{place}: does not decode: {why}; replace it or leave it out") from None


def _prepared(processor: Any, data: bytes, place: str) -> np.ndarray:
    return np.asarray(processor(images=opened(data, place), return_tensors="np")["pixel_values"][0])


def _processor(folder: Path, said: str) -> Any:
    import transformers

    _need_pillow()
    if not (folder / "preprocessor_config.json").is_file() and not (folder / "processor_config.json").is_file():
        raise ModelError(f"{said}: no preprocessor_config.json; save the image processor into the same folder")
    try:
        return transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    except Exception as error:
        raise ModelError(f"{said}: its image processor cannot be read: {' '.join(str(error).split())[:200]}") from None


def _need_pillow() -> None:
    import importlib.util

    if importlib.util.find_spec("PIL") is None:
        raise PressbenchError(f"images need a package: {install.command(['pillow'])}")


KIND = ImageClassification()
