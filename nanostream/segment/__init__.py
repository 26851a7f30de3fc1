"""Segmentation that nobody annotated for: targets, network, training, prediction, measures.

In reading order: `targets` (what the network is asked), `network`, `window` (crops of the stream's
recent samples), `loss`, `training`, `model` (the file), `instances` (from probabilities to
particles), `predict`, `pictures` (files), `metrics` and `evaluation`, `run` (a recipe into a
training), `demo`. Nothing is imported before it is asked for: torch and MONAI take seconds.
"""
