"""One lowering for every ONNX operator that has an exact integer form."""
