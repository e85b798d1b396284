"""Passes on QDQ graphs that change no answer: as onnxruntime's kernels run them fastest, in the fewest bytes."""
