"""A daemon has an engine up before the first question comes."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import umbel
from umbel.federation.warming import warm

session = umbel.Session(progress=False)
up = lambda: {platform.name for platform in session.platforms() if platform.started()}
before = up()
warm(session)
print(len(up() - before))
"""


def test_one_engine_is_started_and_not_all() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1", done.stderr
