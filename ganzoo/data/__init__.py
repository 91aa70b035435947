"""Datasets on their way from image files to batches on the device."""
