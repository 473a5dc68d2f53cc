"""Trains a small model without batch norm and dropout; `test_train.py` starts it as one process and as two."""
import sys

from torch import nn

from anklealign.training.recipes import Recipe, models
from anklealign.training.train import train

study, run = sys.argv[1:]
models['plain'] = lambda recipe: nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(200, 3))
train(study, run, Recipe('plain', 'plain', size=32, epochs=4, batch_size=8, lr=3e-3), precision='float32')
