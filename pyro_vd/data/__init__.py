"""Data sets, their files, batches to train on, and random changes of inputs.

:func:`load_data` gives a :class:`Dataset` by name, from a table, an ``.npz`` file, or a folder of images or texts; every
function that takes data also takes a pair of inputs and observations, a ``DataLoader``, and data sets of torch and of
Hugging Face.
"""

from pyro_vd.data.augmentation import RandomAffine
from pyro_vd.data.batches import Batches, TensorBatches
from pyro_vd.data.dataset import Dataset
from pyro_vd.data.examples import ExampleBatches
from pyro_vd.data.loaders import LoaderBatches
from pyro_vd.data.loading import load_data
from pyro_vd.data.tables import load_table, read_table

__all__ = [
    "Batches",
    "Dataset",
    "ExampleBatches",
    "LoaderBatches",
    "RandomAffine",
    "TensorBatches",
    "load_data",
    "load_table",
    "read_table",
]
