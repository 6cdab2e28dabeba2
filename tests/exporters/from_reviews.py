"""What docs/classifiers.md takes for granted: reviews.csv, and a small BERT of them in the folder my-model."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

GOOD, BAD, OTHER = ("good", "fast", "kind", "cheap"), ("bad", "late", "broken", "rude"), ("and", "it", "was", "very")
N, N_TRAINED, N_STEPS = 900, 150, 60


def make(folder: Path) -> None:
    """Write both."""
    rng = np.random.default_rng(0)
    words = rng.choice([*GOOD, *BAD, *OTHER], (N, 6))
    scores = np.isin(words, GOOD).sum(1) - np.isin(words, BAD).sum(1)
    labels = (rng.random(N) < 1 / (1 + np.exp(-1.5 * scores))).astype(int)
    texts = [" ".join(row) for row in words]
    pd.DataFrame({"text": texts, "label": labels}).to_csv(folder / "reviews.csv", index=False)

    place = folder / "my-model"
    place.mkdir()
    vocabulary = folder / "vocabulary.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *OTHER]))
    tokenizer = BertTokenizer(str(vocabulary))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=2, **sizes))
    tokens = tokenizer(texts[:N_TRAINED], padding=True, return_tensors="pt")
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        model(**tokens, labels=torch.tensor(labels[:N_TRAINED])).loss.backward()
        optimizer.step()
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
