"""Echo: a self-hosted answer engine that proves every sentence with a citation."""

import os

__version__ = "0.1.0"

# onnxruntime reports its use to its maker unless this is set before its first import. Echo reports nothing to anybody.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
