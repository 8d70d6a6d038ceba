"""Ready classifiers of texts, whose inputs are tokens ``(batch, length)``: integers, of which 0 fills short texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.networks.ready import check_sizes

PADDING = 0
"""The token that fills short texts, in front of their words."""


class LSTMClassifier(nn.Module):
    """An embedding, an LSTM, and a linear layer over the output at the last token; see :func:`lstm_classifier`."""

    def __init__(self, vocabulary: int, classes: int, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding: nn.Embedding = nn.Embedding(vocabulary, width)
        self.lstm: nn.LSTM = nn.LSTM(width, hidden, batch_first=True)
        self.head: nn.Linear = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        outputs, _ = self.lstm(self.embedding(tokens))
        logits: Tensor = self.head(outputs[:, -1])
        return logits


def lstm_classifier(vocabulary: int = 20_000, classes: int = 2, width: int = 300, hidden: int = 128) -> LSTMClassifier:
    """Make the LSTM classifier of Chirkova, Lobacheva and Vetrov 2018 (arXiv 1810.10927, section 4); 6.2 million weights.

    Short texts are filled in front, so that the last token is a word. It returns ``(batch, classes)``.

    Args:
        vocabulary: the number of different tokens.
        classes: the number of classes.
        width: the width of the embedding.
        hidden: the number of hidden units.

    Raises:
        InputError: an argument is not an integer of at least 1.
    """
    check_sizes({"vocabulary": vocabulary, "classes": classes, "width": width, "hidden": hidden})
    return LSTMClassifier(vocabulary, classes, width, hidden)


class TransformerClassifier(nn.Module):
    """An embedding with learnt positions, a transformer encoder, and a linear layer over the mean of its outputs at words."""

    def __init__(self, vocabulary: int, classes: int, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.embedding: nn.Embedding = nn.Embedding(vocabulary, width)
        self.positions: nn.Parameter = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder: nn.TransformerEncoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head: nn.Linear = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        outputs = self.encoder(self.embedding(tokens) + self.positions[-tokens.shape[1] :])
        is_word = (tokens != PADDING).to(outputs.dtype).unsqueeze(-1)
        logits: Tensor = self.head((outputs * is_word).sum(1) / is_word.sum(1).clamp(min=1))
        return logits


def transformer_encoder(
    vocabulary: int = 20_000, classes: int = 2, length: int = 200, width: int = 64, heads: int = 4, layers: int = 2
) -> TransformerClassifier:
    """Make a small transformer encoder that classifies texts (Vaswani 2017, arXiv 1706.03762); it returns ``(batch, classes)``.

    Args:
        vocabulary: the number of different tokens.
        classes: the number of classes.
        length: the largest number of tokens in a text.
        width: the width of the embedding and of every layer.
        heads: the number of attention heads; ``width`` must be a multiple of it.
        layers: the number of layers.

    Raises:
        InputError: an argument is not an integer of at least 1, or ``width`` is not a multiple of ``heads``.
    """
    sizes = {"vocabulary": vocabulary, "classes": classes, "length": length, "width": width, "heads": heads, "layers": layers}
    check_sizes(sizes)
    if width % heads:
        raise InputError(name="width", value=width, allowed=f"a multiple of heads (={heads})")
    return TransformerClassifier(**sizes)
