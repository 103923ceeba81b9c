"""Files of masks: what is looked at before their pixels are taken for class indices."""
