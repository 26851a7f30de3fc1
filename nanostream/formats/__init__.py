"""Samples at rest: in files that other people's tools open, and that never run code when read.

codec: a sample as three fields of bytes. provenance: what a stored set says of itself.
webdataset, zarr: a stream written to shards or to chunks, and read back sample by sample.
disk: whole files or none, and a full disk in one sentence.
"""
