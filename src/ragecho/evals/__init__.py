"""Evaluation: how well the product finds and refuses, measured on suites with known answers, and guarded by a gate."""
