"""Text recognition (OCR) in pictures, by an engine that comes in a wheel. Nothing is downloaded."""
