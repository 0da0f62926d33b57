"""Speed and memory of the real product; `python -m benchmarks` runs all of it with moderate sizes."""
