"""The bundled example: a trained digits CNN, its test images, and what Keras itself answered on them.

Made by ``examples/train_digits.py``. Nothing here needs TensorFlow: the archive is read directly, and Keras' accuracy
and layer codes were recorded when the model was trained.
"""
