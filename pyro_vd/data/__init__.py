"""What a training and a measurement are given: data sets, their files, batches, random changes of inputs."""

from pyro_vd.data.augmentation import RandomAffine
from pyro_vd.data.batches import Batches, TensorBatches
from pyro_vd.data.dataset import Dataset
from pyro_vd.data.loading import load_data

__all__ = ["Batches", "Dataset", "RandomAffine", "TensorBatches", "load_data"]
