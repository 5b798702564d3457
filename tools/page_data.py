"""Write what the page Draw needs and torch makes: the network as ONNX, into site/static/draw/.

python tools/page_data.py
"""

from pathlib import Path

from ddpm_abc.export import onnx_error, save_onnx
from ddpm_abc.storage import pretrained

FOLDER = Path(__file__).resolve().parent.parent / "site/static/draw"

if __name__ == "__main__":
    found = pretrained("mnist-labels")
    path = FOLDER / "mnist-labels.onnx"
    save_onnx(path, found.denoise)
    print(f"{path.name}: {path.stat().st_size:,} bytes, off by {onnx_error(path, found.denoise):.1e}")
