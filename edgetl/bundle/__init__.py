"""What the app embeds: manifest, golden vectors, sample code."""
