"""The colours of classes and curves, in all pictures and files alike."""

from __future__ import annotations

# Red, green and blue from 0 to 255.
Color = tuple[int, int, int]

# Okabe and Ito's colours, which colour-blind readers tell apart and which are readable over grey tissue.
OKABE_ITO: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (255, 255, 255),
)
# Darker ones of Tol's follow, so that the many classes of a street scene differ.
COLORS = (
    *OKABE_ITO,
    (51, 34, 136),
    (136, 34, 85),
    (153, 153, 51),
    (102, 17, 0),
    (170, 68, 153),
    (68, 170, 153),
    (119, 119, 119),
    (0, 0, 0),
)


def class_color(number: int) -> Color:
    """Returns the colour of a class, by its number from 0 on; after the last colour they start again."""
    return COLORS[number % len(COLORS)]


def hex_color(number: int) -> str:
    """Returns the colour of a class as matplotlib and HTML take it, such as `#e69f00`."""
    return "#{:02x}{:02x}{:02x}".format(*class_color(number))
