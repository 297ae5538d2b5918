"""Finding a Java that Spark runs on, without starting one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from umbel.dataclass import dataclass

#: The oldest Java that Spark 4 runs on.
OLDEST = 17

INSTALL = (
    f"install Java {OLDEST} or newer (on Debian or Ubuntu: apt-get install "
    f"openjdk-{OLDEST}-jre-headless) or let JAVA_HOME name one; a Spark that runs elsewhere "
    'needs none here: session.catalog.attach("cluster", "sc://host:15002")'
)


@dataclass(frozen=True)
class Java:
    """A Java.

    Attributes:
        executable: the program.
        version: its first number, such as 17; 0 if it does not say.
    """

    executable: Path
    version: int


def find_java() -> Java | None:
    """Find the Java that Spark's scripts take: that of JAVA_HOME, or the first in PATH."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        return None
    executable = Path(found).resolve()
    return Java(executable, _version(executable))


def _version(executable: Path) -> int:
    """A Java's version from the file beside it that says so, or else from itself."""
    release = executable.parent.parent / "release"
    if release.is_file():
        said = release.read_text(encoding="utf-8", errors="replace")
    else:
        try:
            done = subprocess.run(  # noqa: S603 (the user's own Java)
                [str(executable), "-version"],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return 0
        said = done.stderr
    match = re.search(r'(?:JAVA_VERSION=|version )"(1\.)?(\d+)', said)
    return int(match[2]) if match else 0


def refuse_java() -> str | None:
    """Say what is wrong with the Java that is here; None if Spark runs on it."""
    java = find_java()
    if java is None:
        return f"Spark runs on Java, and there is none here: {INSTALL}"
    if java.version < OLDEST:
        said = f"is version {java.version}" if java.version else "does not run"
        return f"Spark needs Java {OLDEST}, and {java.executable} {said}: {INSTALL}"
    return None
