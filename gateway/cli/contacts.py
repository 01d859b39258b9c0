"""`gateway contacts`: bringing people in from a file."""

from __future__ import annotations
