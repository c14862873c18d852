"""The labelling page of human evaluation (Figure 13): served on this machine, to raters who have their link."""
