"""Run notebooks in place, each in a fresh Jupyter kernel from an empty folder, and keep their outputs.

    python tools/execute.py nbs/01_schedule.ipynb ...      # all of nbs/ when none is named

Outputs are made fit to commit: progress bars are dropped and execution counts follow the order of the cells. Anything
else on stderr is a warning that a reader would see: it fails the run, and the notebook on disk stays as it was.
"""

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NBS = Path(__file__).resolve().parent.parent / "nbs"


def is_progress_bar(output) -> bool:
    return output.output_type == "stream" and output.name == "stderr" and "\r" in output.text


def run(path: Path) -> None:
    start = time.time()
    nb = nbformat.read(path, 4)
    with tempfile.TemporaryDirectory() as empty:
        NotebookClient(nb, timeout=3600, kernel_name="python3", record_timing=False, resources={"metadata": {"path": empty}}).execute()
        if left := [p.name for p in Path(empty).iterdir()]:
            sys.exit(f"{path.name} left files behind: {left}")
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not is_progress_bar(o)]
            for o in cell.outputs:
                if o.output_type == "stream" and o.name == "stderr":
                    sys.exit(f"{path.name}: a cell wrote to stderr:\n{cell.source}\n---\n{o.text}")
    nbformat.write(nb, path)
    print(f"{path.name}: {time.time() - start:.0f} s, {path.stat().st_size / 1000:.0f} KB", flush=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(NBS.glob("*.ipynb")):
        run(Path(name))
