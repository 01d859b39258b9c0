"""Distributions of other people: their tests run in their own folders, as `tests/test_thirdparty.py` does."""

collect_ignore_glob = ["*/*"]
