"""Export of trained networks to folders to share: safetensors, ONNX, or in the Hugging Face Hub's layout.

`export` writes one, `bundle` seals and opens it and checks its weights against its recipe, `onnx_model` makes and
checks the ONNX form, `model_card` writes its README; `import_weights` makes a run of foreign weights.
"""
