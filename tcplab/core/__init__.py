"""The words that everything else uses: segment, trace, knobs, releases, catalogue, and numbers in words."""
