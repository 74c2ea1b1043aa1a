"""The network: subspace, prior, closed forms, proximal networks, weights."""
