"""Data sets made on the fly or written to disk, to try everything on."""
