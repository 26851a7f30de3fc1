"""Textures: learned distributions of the parameters that decide how surfaces look.

`distribution` holds the presets' form, numbers alone. `generator`, `checkpoint` and `published` hold the GAN's network
and its weights. Nothing here knows the renderer; `surface.SurfaceTable` is what it is given.
"""
