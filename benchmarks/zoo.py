"""Networks that others wrote, with random weights and a batch each: the list on which the library is tested and measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 5


@dataclass(frozen=True)
class Specimen:
    """A network of the list.

    Attributes:
        name: the name in tables.
        make: makes the network, with random weights, in training mode.
        batch: makes n inputs and class labels ``(n,)``, or ``(n, length)`` for a language model.
        output: which part of the network's output holds the logits; None for all.
        has_length: whether dimension 1 of every input may have any length.
        without_gradient: the weights whose gradient is 0 in a training, whatever the batch.
        make_small: makes a narrower network of the same class, for tests that train; None where ``make`` makes a small one.
    """

    name: str
    make: Callable[[], nn.Module]
    batch: Callable[[int], tuple[Any, Tensor]]
    output: str | None = None
    has_length: bool = False
    make_small: Callable[[], nn.Module] | None = None
    without_gradient: frozenset[str] = frozenset()

    def seeded(self, seed: int = 0, *, small: bool = False) -> nn.Module:
        """The network, or the narrower one, with weights of this seed; the random state is left as it was."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            return self.make_small() if small and self.make_small else self.make()

    @property
    def dynamic(self) -> tuple[int, ...]:
        """The dimensions of the inputs that may have any size."""
        return (0, 1) if self.has_length else (0,)

    def seeded_batch(self, n: int, seed: int = 0) -> tuple[Any, Tensor]:
        """A batch of this seed; the random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.batch(n)


def _labels(n: int) -> Tensor:
    return torch.randint(CLASSES, (n,))


def _images(size: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    return lambda n: (torch.randn(n, 3, size, size), _labels(n))


def _sequences(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 6, 8), _labels(n)


TOKENS, LENGTH = 40, 8


def _tokens(n: int) -> tuple[Tensor, Tensor]:
    return torch.randint(TOKENS, (n, LENGTH)), _labels(n)


def _masked_tokens(n: int) -> tuple[dict[str, Tensor], Tensor]:
    mask = torch.ones(n, LENGTH, dtype=torch.long)
    mask[: n // 2, -2:] = 0
    return {"input_ids": torch.randint(TOKENS, (n, LENGTH)), "attention_mask": mask}, _labels(n)


def _next_tokens(n: int) -> tuple[dict[str, Tensor], Tensor]:
    text = torch.randint(TOKENS, (n, LENGTH + 1))
    return {"input_ids": text[:, :-1]}, text[:, 1:]


def _pixels(n: int) -> tuple[dict[str, Tensor], Tensor]:
    return {"pixel_values": torch.randn(n, 3, 32, 32)}, _labels(n)


def _torchvision(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from torchvision import models

        return getattr(models, name)(num_classes=CLASSES, **arguments)

    return make


def _narrow_vgg() -> nn.Module:
    from torchvision.models.vgg import VGG, make_layers

    with torch.device("meta"):  # its own linear layers have 120 million weights
        net = VGG(nn.Sequential(), init_weights=False)
    net.features = make_layers([8, "M", 12, "M", 16, 16, "M", 20, 20, "M", 24, 24, "M"], batch_norm=True)
    layers = [nn.Linear(24 * 7 * 7, 48), nn.ReLU(), nn.Dropout(), nn.Linear(48, 48), nn.ReLU(), nn.Dropout()]
    net.classifier = nn.Sequential(*layers, nn.Linear(48, CLASSES))
    return net


def _narrow_convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    blocks = [CNBlockConfig(16, 24, 2), CNBlockConfig(24, 32, 2), CNBlockConfig(32, None, 2)]
    return ConvNeXt(blocks, stochastic_depth_prob=0.1, num_classes=CLASSES)


def _narrow_densenet() -> nn.Module:
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=8, block_config=(2, 3, 2), num_init_features=16, num_classes=CLASSES)


def _torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    net = VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=CLASSES)
    nn.init.normal_(net.heads.head.weight, std=0.2)  # it begins with zeros, and every image with the same output
    return net


def _timm(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        return timm.create_model(name, num_classes=CLASSES, **arguments)

    return make


def _bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(
            vocab_size=TOKENS,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=16,
            num_labels=CLASSES,
        )
    )


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": TOKENS, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, use_cache=False))


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=TOKENS,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=16,
            use_cache=False,
        )
    )


def _hugging_face_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
            num_labels=CLASSES,
        )
    )


class RecurrentClassifier(nn.Module):
    """Tokens, an embedding, a recurrent layer and a linear layer over its last output, as in most tutorials."""

    def __init__(self, layer: type[nn.LSTM | nn.GRU], bidirectional: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 16)
        self.recurrent = layer(16, 20, num_layers=2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(20 * (1 + bidirectional), CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        outputs, _ = self.recurrent(self.embedding(tokens))
        return self.head(outputs[:, -1])


class EncoderClassifier(nn.Module):
    """``nn.TransformerEncoder`` over a sequence of vectors, and a linear layer over the mean of its outputs."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(24, 4, 48, dropout=0.1, batch_first=True)
        self.project = nn.Linear(8, 24)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.project(x)).mean(1))


ZOO = (
    Specimen("torchvision resnet18", _torchvision("resnet18"), _images(64)),
    Specimen("torchvision mobilenet_v3_small", _torchvision("mobilenet_v3_small"), _images(64)),
    Specimen("torchvision efficientnet_b0", _torchvision("efficientnet_b0"), _images(64)),
    Specimen("torchvision densenet121", _torchvision("densenet121"), _images(64), make_small=_narrow_densenet),
    Specimen("torchvision convnext_tiny", _torchvision("convnext_tiny"), _images(64), make_small=_narrow_convnext),
    Specimen("torchvision shufflenet_v2_x0_5", _torchvision("shufflenet_v2_x0_5"), _images(64)),
    Specimen("torchvision vgg11_bn", _torchvision("vgg11_bn"), _images(32), make_small=_narrow_vgg),
    Specimen("torchvision VisionTransformer", _torchvision_vit, _images(32)),
    Specimen("timm vit_tiny_patch16_224", _timm("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2), _images(32)),
    Specimen("Hugging Face BERT", _bert, _masked_tokens, "logits", has_length=True),
    Specimen("Hugging Face GPT-2", _gpt2, _next_tokens, "logits", has_length=True),
    Specimen("Hugging Face Llama", _llama, _next_tokens, "logits", has_length=True),
    Specimen("Hugging Face ViT", _hugging_face_vit, _pixels, "logits"),
    Specimen("LSTM classifier", lambda: RecurrentClassifier(nn.LSTM), _tokens, has_length=True),
    Specimen(
        "GRU classifier",
        lambda: RecurrentClassifier(nn.GRU, bidirectional=True),
        _tokens,
        has_length=True,
        without_gradient=frozenset({"recurrent.weight_hh_l1_reverse"}),  # its last output is one step from a state of zeros
    ),
    Specimen("nn.TransformerEncoder classifier", EncoderClassifier, _sequences, has_length=True),
)
"""The list, in the order of its tables."""


def specimens(*parts: str) -> list[Specimen]:
    """The networks whose name contains one of the parts; all without any part."""
    return [each for each in ZOO if not parts or any(part in each.name for part in parts)]
