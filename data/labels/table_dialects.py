"""The run-length tables of four competitions: their header, their ids, how they write runs and an empty mask."""

from __future__ import annotations

from dataclasses import dataclass

from .run_lengths import Dialect


@dataclass(frozen=True)
class TableDialect:
    """How a competition writes its table of runs.

    Attributes:
        header: Names of its two columns, of ids and of runs.
        runs: How the runs are written; an empty mask is `-1` where they are relative, and nothing where they are not.
        class_in_id: The id of a row is `IMAGE.jpg_CLASS`, and every image has a row for every class, in the order of
            their names; else it is the name of the image, and there is one class.
    """

    header: tuple[str, str]
    runs: Dialect
    class_in_id: bool = False

    def row_id(self, image: str, name: str) -> str:
        """Returns the id of a row.

        Args:
            image: Name of the image, without folder and suffix.
            name: The class.
        """
        return f"{image}.jpg_{name}" if self.class_in_id else image


TABLE_DIALECTS = {
    "clouds": TableDialect(("Image_Label", "EncodedPixels"), Dialect(), class_in_id=True),
    "pneumothorax": TableDialect(("ImageId", "EncodedPixels"), Dialect(relative=True)),
    "organs": TableDialect(("id", "rle"), Dialect()),
    "kidney": TableDialect(("id", "predicted"), Dialect()),
}
