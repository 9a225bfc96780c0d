"""What this device takes for a step, a text and a picture, alone and beside its neighbours."""
