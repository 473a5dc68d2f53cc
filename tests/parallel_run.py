"""Trains a small model without batch norm and dropout; `test_train.py` starts it as one process and as two. With a third word, all is lost in epoch 3."""
import os
import sys

from fastai.callback.core import Callback
from torch import nn

from anklealign.training import train as training
from anklealign.training.recipes import Recipe, models
from anklealign.training.runs import processes


class Lost(Callback):
    "The first machine is gone, after its checkpoint of epoch 2."
    order = 90
    def after_batch(self):
        if self.epoch == 2 and processes()[0] == 0: os._exit(9)


study, run, *lost = sys.argv[1:]
models['plain'] = lambda recipe: nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(200, 3))
training._BETWEEN, given = 0, training.recipe_callbacks
if lost: training.recipe_callbacks = lambda *o: [*given(*o), Lost()]
training.train(study, run, Recipe('plain', 'plain', size=32, epochs=4, batch_size=8, lr=3e-3), precision='float32', resume=not lost)
