"""The order in which the shapes of a slide are read, told by where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

_DEEPEST = 30


@dataclass(slots=True)
class Shape:
    """A shape and the edges of its box on the slide; a group has inner ones."""

    element: ET.Element
    left: float
    top: float
    right: float
    bottom: float
    inner: "list[Shape] | None" = None


def in_order(shapes: Sequence[Shape], depth: int = 0) -> list[Shape]:
    """Return shapes as they are read: bands from top to bottom; within a band columns from left to right."""
    if len(shapes) < 2 or depth > _DEEPEST:  # noqa: PLR2004 (nothing to order)
        return list(shapes)
    for first, last in (("top", "bottom"), ("left", "right")):
        bands = _bands(shapes, first, last)
        if len(bands) > 1:
            return [shape for band in bands for shape in in_order(band, depth + 1)]
    return sorted(shapes, key=lambda shape: (shape.top, shape.left))


def _bands(shapes: Sequence[Shape], first: str, last: str) -> list[list[Shape]]:
    """Return shapes in groups that do not overlap along one axis (a tenth of the smaller may)."""
    bands: list[list[Shape]] = []
    end = 0.0
    for shape in sorted(shapes, key=lambda one: (getattr(one, first), getattr(one, last))):
        start, stop = getattr(shape, first), getattr(shape, last)
        if bands and start < end - 0.1 * min(stop - start, end - start + 1):
            bands[-1].append(shape)
            end = max(end, stop)
        else:
            bands.append([shape])
            end = stop
    return bands
