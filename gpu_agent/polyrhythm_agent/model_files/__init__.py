"""A model as files, named before anything is loaded: folders, single files, the hub, known configs and words."""
