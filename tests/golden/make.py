"""Make `closed_batch.json` with the code of another commit: `python -m tests.golden.make [COMMIT]`.

The reference is the last commit before there were services. Tests never run this: figures that a change moves on purpose
are made anew by hand, with the commit that moved them, and the change says why.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import simulator
from tests.golden.cases import GOLDEN, REPOSITORY, cases, facts

BEFORE_SERVICES = "c220377"


def main() -> None:
    """Check the commit out beside this one, and have it run the cases of this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", nargs="?", default=BEFORE_SERVICES)
    parser.add_argument("--here", action="store_true", help="print the figures of the code that is imported")
    options = parser.parse_args()
    if options.here:
        assert Path(simulator.__file__).is_relative_to(Path.cwd()), "figures of other code than that of the commit"
        sys.stdout.write(json.dumps({name: facts(values) for name, values in cases().items()}))
        return
    commit = _git("rev-parse", options.commit)
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "moesim"
        _git("worktree", "add", "--detach", str(checkout), commit)
        try:
            shutil.copytree(Path(__file__).parent, checkout / "tests" / "golden", dirs_exist_ok=True)
            printed = subprocess.run(
                [sys.executable, "-m", "tests.golden.make", "--here"],
                cwd=checkout,
                env={**os.environ, "PYTHONPATH": str(checkout)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        finally:
            _git("worktree", "remove", "--force", str(checkout))
    golden = {
        "about": "Results of closed batches; tests/golden/make.py made them with the code of this commit.",
        "commit": commit,
        "subject": _git("show", "--no-patch", "--format=%s", commit),
        "cases": json.loads(printed),
    }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
