"""The native engine: a graph as steps of shape-generic C kernels, compiled once a machine by the host's compiler."""
