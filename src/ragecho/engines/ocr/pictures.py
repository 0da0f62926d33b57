"""A page as a picture that can be recognised: upright, grey, of a size that the engine reads best.

Runs in the sandbox's child process; Pillow and PDFium read strangers' bytes.
"""

import io
from typing import TYPE_CHECKING

from ragecho.engines.parsing.failures import failure

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_EDGE = 3000
_DOTS_PER_POINT = 300 / 72
_MAX_PIXELS = 100_000_000  # of the file; a letter page at 1,000 dots per inch has 94 million
_SMALL_EDGE = 1500  # a page below this is enlarged: its letters have too few pixels
_MAX_ENLARGEMENT = 3
_MIN_EDGE = 8
_FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "JPEG2000")


def frames(data: bytes) -> list[tuple[int, int]]:
    """Return the width and height in pixels of each page of a picture. Only a TIFF has more than one.

    The others of an animation say what the first one says. Raises `ParseFailed`.
    """
    image = _opened(data)
    if image.format != "TIFF":
        return [image.size]
    sizes = []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        sizes.append(image.size)
    return sizes


def picture(data: bytes, number: int) -> "Image":
    """Return page `number` (from 1) of a picture file. Raises `ParseFailed`."""
    from PIL import ImageOps

    image = _opened(data)
    try:
        image.seek(number - 1)
        if image.width * image.height > _MAX_PIXELS:
            raise failure("picture_too_large", width=image.width, height=image.height)
        image.draft("L", (MAX_EDGE, MAX_EDGE))  # JPEG: decoded small at once
        shown = _on_white(ImageOps.exif_transpose(image))
    except (OSError, EOFError, ValueError, SyntaxError) as error:
        raise failure("damaged") from error
    return _sized(shown)


def page_picture(data: bytes, number: int, password: str | None) -> "Image":
    """Return page `number` (from 1) of a PDF as a picture. Raises `ParseFailed`."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data, password=password)
        page = document[number - 1]
        scale = min(_DOTS_PER_POINT, MAX_EDGE / max(1.0, *page.get_size()))
        shown: Image = page.render(scale=scale, grayscale=True, fill_color=(255, 255, 255, 255)).to_pil()
    except (pypdfium2.PdfiumError, IndexError) as error:
        raise failure("damaged") from error
    return shown.convert("L")


def _opened(data: bytes) -> "Image":
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # our own limit has a reason that people understand
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise failure("damaged") from error


def _on_white(image: "Image") -> "Image":
    """Return the picture in grey; what is transparent shows white paper."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        image = Image.alpha_composite(paper, layer)
    return image.convert("L")


def _sized(image: "Image") -> "Image":
    from PIL import Image

    edge = max(image.size)
    if min(image.size) < _MIN_EDGE:
        return image
    scale = 1.0
    if edge > MAX_EDGE:
        scale = MAX_EDGE / edge
    elif edge < _SMALL_EDGE:
        scale = min(_MAX_ENLARGEMENT, 2 * _SMALL_EDGE / edge)
    if scale == 1.0:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)
