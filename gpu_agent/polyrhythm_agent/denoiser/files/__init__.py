"""Where weights come from: folders of diffusers, single files, what marks them, and whether parts fit together."""
