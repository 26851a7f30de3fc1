"""Samples at rest: in files that other people's tools open, and that never run code when read.

codec, png: a sample as three fields of bytes. encoded: a sample in the bytes of a format. frames: on a connection.
folder, remote, memory: where a set lies. disk: whole files or none, and a full disk in one sentence.
files, seal, provenance: what manifests and descriptions say of it.
sink: a set as parts. webdataset, zarr, ome, coco, nnunet: the kinds of sets; sinks: all of them by name.
slots, window: an endless stream on a bounded disk. target: where an export may write.
webdataset_reader, zarr_reader, cache: sets read back, sample by sample. verify: what is wrong with one.
"""
