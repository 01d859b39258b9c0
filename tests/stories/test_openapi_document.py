"""What the daemon serves is what its document says: every operation asked at random, no answer that is not in it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stories.conftest import Story, story_in

EXAMPLES = os.environ.get("GATEWAY_SCHEMA_EXAMPLES", "12")  # for each operation
RUN_SECONDS = 240
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
KEYS = r"^/v1/keys/"  # whoever plays with these at random takes the keys away that the others are asked with
STREAM = r"^/v1/events/stream"  # never ends


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    """A running gateway."""
    async with story_in(tmp_path) as told:
        yield told


async def schemathesis(story: Story, folder: Path, *options: str) -> tuple[int | None, str]:
    """Run it against the daemon in this process; its exit status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{story.base}/v1/openapi.json", "-u", story.base,
        "-H", f"Authorization: Bearer {story.token}", "--checks", CHECKS, "--phases", "fuzzing", "-n", EXAMPLES,
        "--seed", "1", "--continue-on-failure", "--warnings", "off", "--request-timeout", "20", "--no-color", *options,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(RUN_SECONDS):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "options",
    [("--exclude-path-regex", f"{KEYS}|{STREAM}"), ("--include-path-regex", "^/v1/keys")],
    ids=["everything", "keys"],
)
async def test_no_request_is_answered_otherwise_than_the_document_says(
    story: Story, tmp_path: Path, options: tuple[str, ...]
) -> None:
    await story.contacts(3)
    await story.mail_all()
    status, said = await schemathesis(story, tmp_path, *options)
    tested = re.search(r"Tested: (\d+)", said)
    assert tested is not None, said[-2_000:]
    assert int(tested[1]) >= 4
    failures = "\n".join(line[:300] for line in said.splitlines() if not line.lstrip().startswith("curl"))
    assert status == 0, failures[-6_000:]
