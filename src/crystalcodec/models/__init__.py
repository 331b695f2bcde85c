"""Networks that predict properties from the arrays of any representation, and their scalings.

:mod:`~crystalcodec.models.base` is the contract; :mod:`~crystalcodec.models.scaling` needs numpy
alone; every other module holds one network and imports torch.
"""
