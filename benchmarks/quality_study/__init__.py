"""Parts of the quality benchmark: which plans are compared, how pictures are compared, how it is drawn."""
