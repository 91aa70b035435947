"""Plain transcriptions of the papers' networks, losses and decoders, to hold the plugin's against."""
