"""One TFDS builder per data set; `data.build` finds them by file name."""
