"""Errors of downloads in one line."""

import contextlib
import urllib.error
from collections.abc import Iterator

from maskzoo.errors import UnreadableFile


@contextlib.contextmanager
def downloading(name: str) -> Iterator[None]:
    """Turns whatever goes wrong while Keras downloads or opens published weights into one line."""
    try:
        yield
    except Exception as error:  # Keras raises plain exceptions for failed downloads
        if isinstance(error.__context__, urllib.error.HTTPError):
            error.__context__.close()  # Keras leaves the server's answer, and so the socket, open
        reason = " ".join(str(error).split())
        raise UnreadableFile(f"encoder_weights of {name}", "ImageNet weights to download", f"none: {reason}") from error
