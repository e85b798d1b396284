"""The folder that an app embeds: manifest, golden vectors, sample code."""
