"""A vector database: libraries of documents of chunks, and k-nearest-neighbour search over them.

Rooms, each importing only those to its right:
`server | client > engine > index | storage > kernels > schemas > errors`.
"""
