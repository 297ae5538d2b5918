"""FedPy: the Python interface of umbel. Lazy handles that build plans and hand them over to run.

`Session` makes sources, `DataFrame` and `Dataset` are the two handles, `Expr` computes inside a
DataFrame. Nothing here knows an engine.
"""
