"""Controllers for where there is no Python: C for microcontrollers, ONNX."""
