"""The states that are compared, as snapshots of a catalogue.

sources         the sides of a comparison, whatever was typed for them
expected        what a database should be, at revisions or by its models: shipped, from a cache, or built
shipped         snapshots that lie beside a tree, and `shipping`, which writes them
building        expected states made in scratch databases
snapshot_files  snapshots as files
equivalence     whether two texts of a definition mean the same
"""
