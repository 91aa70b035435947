"""Trained networks in folders to give away: safetensors, ONNX, or laid out as the Hugging Face Hub has them.

`exporting` writes one, `folder` seals and opens it, `fit` compares its weights with its recipe, `onnx_model` makes and
checks the ONNX form, `model_card` writes its README.
"""
