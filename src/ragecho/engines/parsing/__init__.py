"""Files of many formats to the internal form, each read in a process of its own."""

from ragecho.engines.parsing.recognition import Ocr
from ragecho.engines.parsing.sandbox import SandboxedParser

__all__ = ["Ocr", "SandboxedParser"]
