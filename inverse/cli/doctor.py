"""`inverse doctor`: whether this installation and this machine are in order."""

from __future__ import annotations

from dataclasses import asdict

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
            show_json({"problems": n_problems, "findings": [asdict(f) for f in findings]})
        else:
            width = max(len(finding.subject) for finding in findings)
            for finding in findings:
                print(f"{_MARKS[finding.level]}  {finding.subject:<{width}}  {finding.message}")
        if n_problems:
            raise typer.Exit(_PROBLEMS_FOUND)
