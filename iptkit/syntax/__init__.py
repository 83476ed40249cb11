"""Text to a lossless document: lines, words, shapes."""
