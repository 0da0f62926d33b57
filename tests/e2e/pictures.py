"""Scans for tests: pages that are pictures of text."""

import io

from PIL import Image, ImageDraw, ImageFont


def page(text: str) -> Image.Image:
    """Return a page with large black letters."""
    image = Image.new("L", (1000, 1400), 255)
    ImageDraw.Draw(image).multiline_text((80, 80), text, 0, ImageFont.load_default(48), spacing=24)
    return image


def scanned_pdf(*texts: str) -> bytes:
    """Return a PDF whose pages are pictures."""
    pages = [page(text) for text in texts]
    out = io.BytesIO()
    pages[0].save(out, "PDF", save_all=True, append_images=pages[1:], resolution=150)
    return out.getvalue()
