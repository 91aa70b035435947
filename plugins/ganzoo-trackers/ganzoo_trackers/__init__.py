"""Trackers for ganzoo: they show runs on Weights & Biases, TensorBoard, Trackio and MLflow."""
