"""Trained networks in folders to give away: safetensors, ONNX, or laid out as the Hugging Face Hub has them.

`export` writes one, `bundle` seals and opens it and compares its weights with its recipe, `onnx_model` makes and checks
the ONNX form, `model_card` writes its README; `import_weights` makes a run of foreign weights.
"""
