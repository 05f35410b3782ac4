"""A model over a whole data set: accuracy, confusion and what choices after training change, over any number of
processes and machines."""
