"""Files of networks that can be loaded without Pyro: safetensors (dense, sparse, quantised), ONNX and torch.export."""

from pyro_vd.export.formats import FORMATS, Format
from pyro_vd.export.onnx_file import load_onnx, save_onnx
from pyro_vd.export.pruned_file import load_pruned, save_pruned
from pyro_vd.export.torch_file import load_torch_export, save_torch_export

__all__ = [
    "FORMATS",
    "Format",
    "load_onnx",
    "load_pruned",
    "load_torch_export",
    "save_onnx",
    "save_pruned",
    "save_torch_export",
]
