"""Rewrites the golden manifests from their cases. Review the difference before you commit it."""

from convert.manifest import build, render
from tests.golden.cases import CASES, FOLDER

for name, case in CASES.items():
    (FOLDER / f"{name}.yaml").write_text(render(build(case.source, case.result, case.request)))
