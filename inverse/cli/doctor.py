"""`inverse doctor`: whether this installation and this machine are in order."""

from __future__ import annotations

import sysconfig
from dataclasses import asdict
from pathlib import Path

import typer

from inverse.cli.console import AsJson, Debug, one_line_errors, show_json

__all__ = ["doctor"]

_MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
_PROBLEMS_FOUND = 5


def doctor(*, as_json: AsJson = False, debug: Debug = False) -> None:
    """Check the installation: versions, devices, impostor packages, known problems."""
    with one_line_errors(debug=debug):
        from inverse.environment import examine

        findings = examine()
        n_problems = sum(finding.level == "problem" for finding in findings)
        if as_json:
            found = [{**asdict(f), "message": _placed(f.message)} for f in findings]
            show_json({"problems": n_problems, "findings": found})
        else:
            width = max(len(finding.subject) for finding in findings)
            for finding in findings:
                print(f"{_MARKS[finding.level]}  {finding.subject:<{width}}  {finding.message}")
        if n_problems:
            raise typer.Exit(_PROBLEMS_FOUND)


def _placed(message: str) -> str:
    """Name a place within the installation without saying where that is."""
    from inverse.environment import shown

    packages = Path(sysconfig.get_path("purelib")).resolve()
    own = Path(__file__).resolve().parents[2]
    for folder, name in ((packages, "<site-packages>"), (own, "<checkout>")):
        message = message.replace(str(folder), name).replace(shown(folder), name)
    return message
